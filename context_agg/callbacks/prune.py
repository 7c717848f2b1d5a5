"""Ends a trial of a search that does worse than the others did."""

from typing import TYPE_CHECKING

import lightning as L

if TYPE_CHECKING:
    import optuna


class Prune(L.Callback):
    """Reports a scalar to a trial of Optuna after every epoch.

    Args:
        trial: the trial.
        monitor: the name of the scalar.
        reported: the epochs, counted from 0, that an earlier process has reported.

    Raises:
        optuna.TrialPruned: before an epoch, if the pruner of the study gives the trial up.
    """

    def __init__(self, trial: "optuna.Trial", monitor: str, reported: set[int]) -> None:
        self._trial = trial
        self._monitor = monitor
        self._reported = reported

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Decides after every epoch but the last, which would save nothing."""
        import optuna

        if trainer.current_epoch > 0 and self._trial.should_prune():
            raise optuna.TrialPruned

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch not in self._reported:
            value = float(trainer.callback_metrics[self._monitor])
            self._trial.report(value, trainer.current_epoch)
