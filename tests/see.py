"""A callback that notes which CUDA devices its run sees, and when."""

import json
import os
import time
from pathlib import Path

import lightning as L


class See(L.Callback):
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began = time.time()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seen = {
            "devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "process": os.getpid(),
            "began": self._began,
            "ended": time.time(),
        }
        Path(str(trainer.log_dir), "seen.json").write_text(json.dumps(seen))
