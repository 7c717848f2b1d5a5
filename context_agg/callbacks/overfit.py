"""Overfits one batch, the quickest proof that loss, gradients and optimizer work together."""

import lightning as L

from context_agg.cli.errors import UserError
from context_agg.data.images import ImageData
from context_agg.ops.checks import check_number


class NotOverfit(UserError):
    """The loss on the one batch has not fallen far enough."""


class OverfitOneBatch(L.Callback):
    """Trains on the first batch alone, without augmentation, until its loss is small.

    Args:
        loss: the training loss to reach.

    Raises:
        ValueError: for a loss that is not a number, 0 or more.
        NotOverfit: if training ends above that loss.
    """

    def __init__(self, loss: float) -> None:
        check_number("loss", loss, 0)
        self.loss = loss

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageData)
        trainer.limit_train_batches = 1.0  # the whole of that batch
        data.train = data.train.first(data.batch_size)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if float(trainer.callback_metrics["train/loss"]) <= self.loss:
            trainer.should_stop = True

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = float(trainer.callback_metrics["train/loss"])
        if not loss <= self.loss:
            raise NotOverfit(
                f"one batch, {trainer.global_step} steps: the loss is {loss:.4f}, not "
                f"{self.loss} or less. Look at the gradients (backprop=auto for comparison), the "
                "learning rate and the labels"
            )
