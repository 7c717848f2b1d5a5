"""A run's directory: what stands in it, when it begins, and when it is complete."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from context_agg.data.spec import DataSpec

SETTINGS = ".hydra/config.yaml"
DATA_SPEC = "data.json"
METRICS = "metrics.json"
BEST = "checkpoints/best.ckpt"
LOG = "train.log"  # what a run prints when several run side by side

FORMAT = 2
"""Of what a run's directory holds; the next number when an earlier one can no longer be read."""


def finished_scores(run_dir: Path, cfg: DictConfig) -> dict[str, float] | None:
    """The scores of the run that has finished there, or None if there is none.

    Raises:
        FileExistsError: if it was a run with other settings.
    """
    if not (run_dir / METRICS).is_file():
        return None
    check_format(run_dir)
    ran, settings = (
        dict(_leaves(OmegaConf.to_container(config)))
        for config in (OmegaConf.load(run_dir / SETTINGS), cfg)
    )
    if ran != settings:
        absent = object()
        changed = sorted(
            key
            for key in ran.keys() | settings.keys()
            if ran.get(key, absent) != settings.get(key, absent)
        )
        raise FileExistsError(
            f"{run_dir} holds a finished run with other settings of {', '.join(changed)}; delete "
            "it, or name another place with hydra.sweep.dir=DIR (hydra.run.dir=DIR without -m)"
        )
    scores: dict[str, float] = read_json(run_dir / METRICS)
    return scores


def begin(run_dir: Path, cfg: DictConfig, spec: DataSpec) -> None:
    """Removes what a run that was cut off has left, and writes down what this one is."""
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    for pattern in ("events.out.tfevents.*", "hparams.yaml", "curves.png", "gradients.*"):
        for file in run_dir.glob(pattern):
            file.unlink()
    (run_dir / SETTINGS).parent.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, run_dir / SETTINGS)
    data = {"format": FORMAT, **asdict(spec)}
    (run_dir / DATA_SPEC).write_text(json.dumps(data, indent=2) + "\n")


def check_format(run_dir: Path) -> None:
    """Refuses a run that another version has written in another way.

    Raises:
        ValueError: with what to do.
    """
    file = run_dir / DATA_SPEC
    written = read_json(file).get("format", 1) if file.is_file() else FORMAT
    if written != FORMAT:
        raise ValueError(
            f"{run_dir} is a run of format {written}, and this version of context_agg reads format "
            f"{FORMAT}: train it again, or use the version that wrote it"
        )


def read_spec(run_dir: Path) -> DataSpec:
    """The kind of data that a run was trained on.

    Raises:
        FileNotFoundError: if the directory is not that of a run.
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
    """Removes the directory of a run that was refused, with parents that are then empty.

    A train.log in it is removed if it is the run's own.
    """
    if (run_dir / SETTINGS).is_file():
        return  # a run began there: this one, or an earlier one
    if log:
        (run_dir / LOG).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: files of others stay
        os.removedirs(os.path.relpath(run_dir))  # relative: never the working directory itself


def read_json(file: Path) -> Any:
    """What a JSON file of a run holds.

    Raises:
        ValueError: if it is damaged, with its name.
    """
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is damaged: {error}") from error


def write_scores(run_dir: Path, scores: Mapping[str, float]) -> None:
    """Last act of a run, at once or not at all: this file says that the run is complete."""
    part = run_dir / f"{METRICS}.part"
    part.write_text(json.dumps(scores, indent=2) + "\n")
    os.replace(part, run_dir / METRICS)


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """`{"model": {"channels": 2}}` -> ("model.channels", 2)."""
    if not isinstance(node, dict):
        yield key, node
        return
    for name, value in node.items():
        yield from _leaves(value, f"{key}.{name}" if key else name)
