"""How the gradients that train a network lie to the true ones, layer by layer, as it trains."""

import csv
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from context_agg.analysis.alignment import plot_alignment, read_alignment
from context_agg.analysis.gradients import align, by_layer, network_gradients
from context_agg.learner import Learner

COLUMNS = ("step", "layer", "cosine", "norm_ratio", "sign_agreement", "loss_decrease")


class GradientAlignment(L.Callback):
    """Measures, every so many steps, on the batch of that step and at the weights before it.

    Logs to TensorBoard, by layer (weight and bias as one vector), `cosine/...`, `norm_ratio/...`
    and `sign_agreement/...`, see `analysis.gradients.Alignment`, and `loss_decrease`, by how much
    the step brings the loss of its own batch down. The same go into gradients.csv in the run's
    directory, and at the end into gradients.png. Training itself is not touched.

    Args:
        every: steps from one measurement to the next.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._file = Path()
        self._rows: list[dict[str, str | float]] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._file = Path(str(trainer.log_dir)) / "gradients.csv"
        if trainer.is_global_zero and not self._file.exists():
            self._write(COLUMNS)

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        self._rows = []
        steps_now = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if trainer.global_step % self.every or not steps_now:
            return
        assert isinstance(pl_module, Learner)
        with trainer.precision_plugin.forward_context():
            ours, true = map(by_layer, network_gradients(pl_module.network, pl_module.loss, *batch))
        for layer, gradient in ours.items():
            alignment = align(gradient, true[layer])._asdict()
            self._rows.append({"step": trainer.global_step, "layer": layer, **alignment})
        self._loss = self._loss_of(trainer, pl_module, batch)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        if not self._rows:
            return
        assert isinstance(pl_module, Learner)
        decrease = self._loss - self._loss_of(trainer, pl_module, batch)
        if not trainer.is_global_zero:
            return
        scalars = {"loss_decrease": decrease}
        for row in self._rows:
            row["loss_decrease"] = decrease
            self._write([row[column] for column in COLUMNS])
            for quantity in COLUMNS[2:-1]:
                scalars[f"{quantity}/{row['layer']}"] = float(row[quantity])
        for logger in trainer.loggers:
            logger.log_metrics(scalars, int(self._rows[0]["step"]))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            figure = plot_alignment(read_alignment(self._file))
            figure.savefig(self._file.with_suffix(".png"), dpi=100)

    @torch.no_grad()
    def _loss_of(self, trainer: L.Trainer, learner: Learner, batch: tuple[Tensor, Tensor]) -> float:
        with trainer.precision_plugin.forward_context():
            return float(learner.loss(learner.network(batch[0]), batch[1]))

    def _write(self, row: object) -> None:
        with self._file.open("a", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow(row)  # type: ignore[arg-type]
