"""Keeps the best weights."""

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from context_agg.errors import UserError
from context_agg.learner import Learner


class BestCheckpoint(ModelCheckpoint):
    """Writes checkpoints/best.ckpt after the best epoch so far.

    Args:
        monitor: a scalar of the held-out images; None: val/accuracy, and for dense data val/iou,
            because a network that answers "background" everywhere has a good accuracy.
        mode: "max" or "min", which of it is best.

    Raises:
        UserError: for val/iou of data that are not dense, before the training.
    """

    def __init__(self, monitor: str | None = None, mode: str = "max") -> None:
        super().__init__(monitor=monitor, mode=mode, filename="best", enable_version_counter=False)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        dense = isinstance(pl_module, Learner) and pl_module.spec.dense
        if self.monitor == "val/iou" and not dense:
            raise UserError(
                "callbacks.best_checkpoint.monitor=val/iou needs dense data; take val/accuracy"
            )
        if self.monitor is None:
            self.monitor = "val/iou" if dense else "val/accuracy"
        super().setup(trainer, pl_module, stage)
