"""Ends a run whose loss is no longer finite."""

import math

import lightning as L

from context_agg.cli.errors import UserError


class FiniteLoss(L.Callback):
    """Checks the training loss after every epoch.

    Raises:
        UserError: if it is infinite or NaN.
    """

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = float(trainer.callback_metrics["train/loss"])
        if not math.isfinite(loss):
            raise UserError(
                f"the training loss is {loss} after epoch {trainer.current_epoch + 1}: the run has "
                "diverged; use a smaller optimizer.lr, or +trainer.gradient_clip_val=1"
            )
