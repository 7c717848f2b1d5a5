"""Whether a directory holds the finished run of a configuration."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from context_agg.cli.no_result import NO_RESULT
from context_agg.runs.directory import METRICS
from context_agg.runs.records import read_scores
from context_agg.runs.settings import read_resolved


def finished_scores(
    run_dir: Path, cfg: DictConfig, *, grow: bool = False
) -> dict[str, float] | None:
    """The scores of the finished run in this directory, or None if there is none.

    With `grow`, a run of fewer epochs than `cfg` has is not finished.

    Raises:
        FileExistsError: if that run had other settings.
        OSError, ValueError: if its settings cannot be read, or its scores are not what a run
            writes.
    """
    if not os.path.lexists(run_dir / METRICS):
        return None
    if changed := changed_settings(run_dir, cfg, grow=grow):
        longer = "; resume=DIR can make it longer" if changed == ["trainer.max_epochs"] else ""
        raise FileExistsError(
            f"{run_dir} holds a finished run with other settings of {', '.join(changed)}; delete "
            "it, or use another directory: hydra.sweep.dir=DIR (hydra.run.dir=DIR without -m)"
            f"{longer}"
        )
    scores = read_scores(run_dir)
    if grow and changed_settings(run_dir, cfg):
        return None
    return scores


def changed_settings(run_dir: Path, cfg: DictConfig, *, grow: bool = False) -> list[str]:
    """The keys in which a run's settings differ from these, without those that change no result.

    With `grow`, the number of epochs may differ too.

    Raises:
        OSError, ValueError: if the run's settings cannot be read.
    """
    ran = dict(leaves(read_resolved(run_dir)))
    settings = dict(leaves(OmegaConf.to_container(cfg, resolve=True)))
    absent = object()
    return sorted(
        key
        for key in ran.keys() | settings.keys()
        if ran.get(key, absent) != settings.get(key, absent)
        and key not in NO_RESULT
        and not (grow and key == "trainer.max_epochs")
    )


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a configuration: `{"model": {"channels": 2}}` -> ("model.channels", 2)."""
    if not isinstance(node, dict):
        yield key, node
        return
    for name, value in node.items():
        yield from leaves(value, f"{key}.{name}" if key else name)
