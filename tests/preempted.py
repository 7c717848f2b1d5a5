"""A callback that holds the first job of an array of Slurm until a signal has come."""

import os
import time
from pathlib import Path
from typing import Any

import lightning as L

from context_agg.cli import signals

READY = "ready"  # in the directory of the run: the job waits for the signal
STEP = 5


class Hold(L.Callback):
    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        first = os.environ.get("SLURM_ARRAY_TASK_ID") == "0"
        restarted = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
        if first and not restarted and trainer.global_step == STEP:
            Path(str(trainer.log_dir), READY).touch()
            while signals.received() is None:
                time.sleep(0.1)
