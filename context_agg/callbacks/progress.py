"""Shows on a terminal how far the whole run is, and how long it will still take."""

import sys

import lightning as L
from lightning.pytorch.callbacks import ProgressBar
from torch import Tensor
from tqdm import tqdm


class RunProgress(ProgressBar):
    """One bar over all steps of all epochs, which is gone when the training ends.

    What the run prints stays above it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: tqdm | None = None
        self._enabled = True

    @property
    def is_enabled(self) -> bool:
        """Whether what the run prints goes through this bar; `LightningModule.print` asks."""
        return self._enabled

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epochs, batches = trainer.max_epochs or 1, int(trainer.num_training_batches)
        done = trainer.fit_loop.total_batch_idx + 1  # not 0 if the run goes on
        self._bar = tqdm(
            total=epochs * batches,
            initial=done,
            desc="training",
            unit="batch",
            dynamic_ncols=True,
            leave=False,
            file=sys.stdout,  # the terminal, wherever the messages go
            smoothing=0,  # the speed since the start: with validation, and steady
            disable=not self._enabled,
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        assert self._bar is not None
        self._bar.update()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def print(self, *args: object, sep: str = " ", **kwargs: object) -> None:
        tqdm.write(sep.join(map(str, args)))

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
