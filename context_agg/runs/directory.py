"""A run's directory: which files it has, and how they are written."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

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
PROGRAM = "model.pt2"  # instead, if it was exported for PyTorch alone
CARD = "README.md"  # of an exported run, for people
LOG = "train.log"  # the printed lines of a run in a sweep
TRACES = ("events.out.tfevents.*", "hparams.yaml", "gradients.*", "diagnosis.json")
"""What a run writes before its first checkpoint, beside its settings and its data."""
MARK = ".context_agg"  # of a folder that we have made; locked while a process writes there

FORMAT = 2
"""Version of a run's directory; increase it when earlier runs can no longer be read."""


def begin(run_dir: Path, cfg: DictConfig, spec: DataSpec) -> None:
    """Writes the settings and the data of a run that begins, or goes on with more epochs."""
    (run_dir / METRICS).unlink(missing_ok=True)  # first: a run that grows is not finished
    data = {"format": FORMAT, **asdict(spec)}
    atomic.write(run_dir / DATA_SPEC, (json.dumps(data, indent=2) + "\n").encode())
    (run_dir / SETTINGS).parent.mkdir(parents=True, exist_ok=True)
    atomic.write(run_dir / SETTINGS, OmegaConf.to_yaml(cfg).encode())


def clear(run_dir: Path) -> None:
    """Removes the traces of a run that ended before its first checkpoint; other files stay."""
    for file in (file for name in TRACES for file in run_dir.glob(name)):
        file.unlink()


def forget(run_dir: Path, *, log: bool = False) -> None:
    """Removes the directory of a run that failed before it started, and parents left empty.

    With `log`, removes the run's train.log too.
    """
    if (run_dir / SETTINGS).is_file():
        return  # this run or an earlier one started there
    if log and run_dir.is_dir() and set(os.listdir(run_dir)) <= {LOG, MARK}:
        (run_dir / LOG).unlink(missing_ok=True)
    with suppress(OSError):  # not empty: other files are kept
        os.removedirs(os.path.relpath(run_dir))  # relative: never the working directory itself


def write_scores(run_dir: Path, scores: Mapping[str, float]) -> None:
    """Writes metrics.json atomically; it is written last, so its presence marks a complete run."""
    atomic.write(run_dir / METRICS, (json.dumps(scores, indent=2) + "\n").encode())
