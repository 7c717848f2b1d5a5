"""Validates with an average of the weights."""

import lightning as L
import lightning.pytorch.callbacks


class WeightAveraging(lightning.pytorch.callbacks.WeightAveraging):
    """Lightning's, except that training ends with the weights that it can go on with.

    Lightning puts the average in their place; the best average is in best.ckpt all the same.
    """

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pass
