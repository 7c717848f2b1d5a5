"""Keeps the best weights."""

from lightning.pytorch.callbacks import ModelCheckpoint

from context_agg.data.spec import DataSpec


class BestCheckpoint(ModelCheckpoint):
    """Writes checkpoints/best.ckpt after the best epoch so far.

    Args:
        monitor: a scalar of the held-out images; None: what `choose` takes.
        mode: "max" or "min", which of it is best.
    """

    def __init__(self, monitor: str | None = None, mode: str = "max") -> None:
        super().__init__(monitor=monitor, mode=mode, filename="best", enable_version_counter=False)

    def choose(self, spec: DataSpec) -> None:
        """Takes val/accuracy where nothing was said, and val/iou for dense data.

        A network that answers "background" everywhere has a good accuracy.

        Raises:
            ValueError: for val/iou of data that are not dense.
        """
        if self.monitor == "val/iou" and not spec.dense:
            raise ValueError(
                "callbacks.best_checkpoint.monitor=val/iou needs dense data; take val/accuracy"
            )
        self.monitor = self.monitor or ("val/iou" if spec.dense else "val/accuracy")
