"""Overfits one batch: the quickest proof that loss, gradients and optimizer work together."""

import lightning as L

from context_agg.data.batches import ImageDataset
from context_agg.data.images import ImageData


class OverfitOneBatch(L.Callback):
    """Trains on the first batch alone, as it is, until its loss is small.

    Args:
        loss: what the mean training loss has to come down to.

    Raises:
        RuntimeError: when training ends above that loss.
    """

    def __init__(self, loss: float) -> None:
        self.loss = loss

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageData)
        first = slice(data.batch_size)
        data.train = ImageDataset(data.train.images[first], data.train.target[first])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = float(trainer.callback_metrics["train/loss"]) <= self.loss

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = float(trainer.callback_metrics["train/loss"])
        if not loss <= self.loss:
            raise RuntimeError(
                f"one batch, {trainer.global_step} steps: the loss is {loss:.4f}, not "
                f"{self.loss} or less. Look at the gradients (backprop=auto for comparison), the "
                "learning rate and the labels"
            )
