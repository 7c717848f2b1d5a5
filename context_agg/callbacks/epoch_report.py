"""Prints a line per epoch, which stays on the screen above the progress bar and in a log file."""

import time
from typing import Any

import lightning as L
from torch import Tensor

from context_agg.training.collectives import gather


class EpochReport(L.Callback):
    """Prints the scalars of every epoch and logs the mean training speed so far.

    The speed, `train/images_per_second`, excludes the time of validation.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._seconds = 0.0
        self._images = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        self._seconds += now - self._since
        self._since = now
        self._images += len(batch[0])

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self._seconds, "images": self._images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seconds, self._images = state_dict["seconds"], state_dict["images"]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        speed = sum(gather(self._images / self._seconds))
        pl_module.log("train/images_per_second", speed)
        scalars = {name: float(value) for name, value in trainer.callback_metrics.items()}
        iou = f" IoU {scalars['val/iou']:.4f}" if "val/iou" in scalars else ""
        pl_module.print(
            f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  "
            f"train loss {scalars['train/loss']:.4f} accuracy {scalars['train/accuracy']:.4f}  "
            f"held-out loss {scalars['val/loss']:.4f} accuracy {scalars['val/accuracy']:.4f}"
            f"{iou}  {speed:,.0f} images/s"
        )
