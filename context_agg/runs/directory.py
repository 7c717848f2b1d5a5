"""A run's directory: which files it has, how a run starts, and when it is complete."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from context_agg.data.spec import DataSpec
from context_agg.runs import atomic

SETTINGS = ".hydra/config.yaml"
DATA_SPEC = "data.json"
METRICS = "metrics.json"
BEST = "checkpoints/best.ckpt"
LAST = "checkpoints/last.ckpt"  # to go on from
PREVIOUS = "checkpoints/previous.ckpt"  # the one before, if the last is damaged
WEIGHTS = "model.safetensors"  # of an exported run
LOG = "train.log"  # the printed lines of a run in a sweep

FORMAT = 2
"""Version of a run's directory; increase it when earlier runs can no longer be read."""


def finished_scores(
    run_dir: Path, cfg: DictConfig, *, grow: bool = False
) -> dict[str, float] | None:
    """The scores of the finished run in this directory, or None if there is none.

    With `grow`, a run of fewer epochs than `cfg` has is not finished.

    Raises:
        FileExistsError: if that run had other settings.
    """
    if not (run_dir / METRICS).is_file():
        return None
    check_format(run_dir)
    if changed := changed_settings(run_dir, cfg, grow=grow):
        longer = "; resume=DIR can make it longer" if changed == ["trainer.max_epochs"] else ""
        raise FileExistsError(
            f"{run_dir} holds a finished run with other settings of {', '.join(changed)}; delete "
            "it, or use another directory: hydra.sweep.dir=DIR (hydra.run.dir=DIR without -m)"
            f"{longer}"
        )
    if grow and changed_settings(run_dir, cfg):
        return None
    scores: dict[str, float] = read_json(run_dir / METRICS)
    return scores


def changed_settings(run_dir: Path, cfg: DictConfig, *, grow: bool = False) -> list[str]:
    """The keys in which a run's settings differ from these, without those that change no result.

    With `grow`, the number of epochs may differ too.
    """
    ran, settings = (
        dict(_leaves(OmegaConf.to_container(config, resolve=True)))
        for config in (OmegaConf.load(run_dir / SETTINGS), cfg)
    )
    absent = object()
    return sorted(
        key
        for key in ran.keys() | settings.keys()
        if ran.get(key, absent) != settings.get(key, absent)
        and not (key == "data.root" or key.startswith("checkpoint."))
        and not (grow and key == "trainer.max_epochs")
    )


def begin(run_dir: Path, cfg: DictConfig, spec: DataSpec) -> None:
    """Writes the settings and the data of a run that begins, or goes on with more epochs."""
    data = {"format": FORMAT, **asdict(spec)}
    atomic.write(run_dir / DATA_SPEC, (json.dumps(data, indent=2) + "\n").encode())
    (run_dir / SETTINGS).parent.mkdir(parents=True, exist_ok=True)
    atomic.write(run_dir / SETTINGS, OmegaConf.to_yaml(cfg).encode())
    (run_dir / METRICS).unlink(missing_ok=True)  # the scores of fewer epochs


def check_format(run_dir: Path) -> None:
    """Rejects a run that another version has written in another format.

    Raises:
        ValueError: if the format is not `FORMAT`.
    """
    file = run_dir / DATA_SPEC
    data = read_json(file) if file.is_file() else {"format": FORMAT}
    written = data.get("format", 1) if isinstance(data, dict) else data
    if written != FORMAT:
        raise ValueError(
            f"{run_dir} is a run of format {written}, but this version of context_agg reads format "
            f"{FORMAT}; delete it and train it again, or use the version that wrote it"
        )


def read_spec(run_dir: Path) -> DataSpec:
    """Reads the description of the data that a run was trained on.

    Raises:
        FileNotFoundError: if this is not the directory of a run.
        ValueError: if the file is damaged.
    """
    file = run_dir / DATA_SPEC
    if not file.is_file():
        raise FileNotFoundError(f"{run_dir} is not the directory of a run: no {DATA_SPEC} in it")
    spec = read_json(file)
    spec.pop("format", None)
    lists = {name: tuple(value) for name, value in spec.items() if isinstance(value, list)}
    return DataSpec(**spec | lists)


def forget(run_dir: Path, *, log: bool = False) -> None:
    """Removes the directory of a run that failed before it started, and parents left empty.

    With `log`, removes the run's train.log too.
    """
    if (run_dir / SETTINGS).is_file():
        return  # this run or an earlier one started there
    if log:
        (run_dir / LOG).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: other files are kept
        os.removedirs(os.path.relpath(run_dir))  # relative: never the working directory itself


def read_json(file: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
        ValueError: if the file is damaged, with its name.
    """
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def write_scores(run_dir: Path, scores: Mapping[str, float]) -> None:
    """Writes metrics.json atomically; it is written last, so its presence marks a complete run."""
    atomic.write(run_dir / METRICS, (json.dumps(scores, indent=2) + "\n").encode())


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """`{"model": {"channels": 2}}` -> ("model.channels", 2)."""
    if not isinstance(node, dict):
        yield key, node
        return
    for name, value in node.items():
        yield from _leaves(value, f"{key}.{name}" if key else name)
