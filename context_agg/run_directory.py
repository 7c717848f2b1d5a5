"""A run's directory: whether it holds a finished run, and what a run leaves in it."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

METRICS = "metrics.json"
SETTINGS = "hparams.yaml"  # the resolved configuration, written by Lightning's TensorBoardLogger


def finished_scores(run_dir: Path, settings: Mapping[str, Any]) -> dict[str, float] | None:
    """The scores of the run that has finished there, or None if there is none.

    Raises:
        FileExistsError: if it was a run with other settings.
    """
    if not (run_dir / METRICS).is_file():
        return None
    ran = yaml.safe_load((run_dir / SETTINGS).read_text())
    if ran != settings:
        changed = sorted(key for key in {*ran, *settings} if ran.get(key) != settings.get(key))
        raise FileExistsError(
            f"{run_dir} holds a finished run with other settings of {', '.join(changed)}; delete "
            "it, or name another place with hydra.sweep.dir=DIR (hydra.run.dir=DIR without -m)"
        )
    scores: dict[str, float] = json.loads((run_dir / METRICS).read_text())
    return scores


def clear(run_dir: Path) -> None:
    """Removes what a run that was cut off has left; files of others stay."""
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
    for pattern in ("events.out.tfevents.*", SETTINGS, "curves.png"):
        for file in run_dir.glob(pattern):
            file.unlink()


def write_scores(run_dir: Path, scores: Mapping[str, float]) -> None:
    """Last act of a run, at once or not at all: this file says that the run is complete."""
    part = run_dir / f"{METRICS}.part"
    part.write_text(json.dumps(scores, indent=2) + "\n")
    os.replace(part, run_dir / METRICS)
