"""Measures during training how well each layer's gradient agrees with the true one."""

import csv
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from torch import Tensor

from context_agg.gradients.agreement import align, by_layer, network_gradients, unnoticed
from context_agg.gradients.alignment_history import plot_alignment, read_alignment
from context_agg.ops.checks import check_whole
from context_agg.training.learner import Learner

COLUMNS = ("step", "layer", "cosine", "norm_ratio", "sign_agreement", "loss_decrease")


class GradientAlignment(L.Callback):
    """Measures every `every` steps, on the batches of that step, with the weights before it.

    Logs to TensorBoard, for each layer (weight and bias as one vector), `cosine/...`,
    `norm_ratio/...` and `sign_agreement/...`, see `gradients.agreement.Alignment`, and
    `loss_decrease`, by how much the step lowers the loss on its own batches. Writes the same to
    gradients.csv in the run's directory, and draws gradients.png. Training is not affected.

    Args:
        every: steps from one measurement to the next.
    """

    def __init__(self, every: int) -> None:
        check_whole("every", every)
        self.every = every
        self._file = Path()
        self._step = 0
        self._batches: list[tuple[Tensor, Tensor]] = []  # of one step: several with accumulation
        self._ours: dict[str, Tensor] = {}
        self._true: dict[str, Tensor] = {}
        self._loss = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps of an earlier file what was measured before the step that the run goes on from."""
        self._file = Path(str(trainer.log_dir)) / "gradients.csv"
        kept = []
        if trainer.global_step > 0 and self._file.is_file():
            rows = list(csv.reader(self._file.read_text().splitlines()))[1:]
            kept = [row for row in rows if int(row[0]) < trainer.global_step]
        with self._file.open("w", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *kept])

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        if trainer.global_step % self.every:
            return
        assert isinstance(pl_module, Learner)
        with trainer.precision_plugin.forward_context():
            ours, true = map(by_layer, network_gradients(pl_module.network, pl_module.loss, *batch))
        if not self._batches:
            self._step, self._ours, self._true, self._loss = trainer.global_step, ours, true, 0.0
        else:
            for layer in ours:
                self._ours[layer] = self._ours[layer] + ours[layer]
                self._true[layer] = self._true[layer] + true[layer]
        self._batches.append(batch)
        self._loss += self._loss_of(trainer, pl_module, batch)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        if not self._batches or trainer.global_step == self._step:
            return  # nothing to measure, or the step is not complete
        assert isinstance(pl_module, Learner)
        after = sum(self._loss_of(trainer, pl_module, batch) for batch in self._batches)
        decrease = (self._loss - after) / len(self._batches)
        self._batches = []
        scalars = {"loss_decrease": decrease}
        for layer, gradient in self._ours.items():
            alignment = align(gradient, self._true[layer])
            self._write([self._step, layer, *alignment, decrease])
            for quantity, value in alignment._asdict().items():
                scalars[f"{quantity}/{layer}"] = value
        for logger in trainer.loggers:
            logger.log_metrics(scalars, self._step)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        figure = plot_alignment(read_alignment(self._file))
        figure.savefig(self._file.with_suffix(".png"), dpi=100)

    @torch.no_grad()
    def _loss_of(self, trainer: L.Trainer, learner: Learner, batch: tuple[Tensor, Tensor]) -> float:
        x, target = batch
        with trainer.precision_plugin.forward_context(), unnoticed(learner.network, x.device):
            torch.manual_seed(self._step)  # what is dropped is the same before and after the step
            return float(learner.loss(learner.network(x), target))

    def _write(self, row: Sequence[object]) -> None:
        with self._file.open("a", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerow(row)
