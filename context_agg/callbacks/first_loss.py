"""Warns of a first loss that is far above that of a network which knows nothing."""

import math
from typing import Any

import lightning as L
from torch import nn

from context_agg.training.collectives import processes, total
from context_agg.training.learner import Learner
from context_agg.training.losses import WeightedCrossEntropy

FACTOR = 3.0


class FirstLoss(L.Callback):
    """Prints a line if the first cross-entropy on dense data is above three times ln(classes).

    A network that gives every class the same probability has a loss of ln(classes). Where the
    first loss is many times that, the initial weights or the inputs are too large, and the
    training often ends with one class everywhere.

    Args:
        fresh: whether the network starts from weights of its own, not from those of a run.
    """

    def __init__(self, *, fresh: bool) -> None:
        self.fresh = fresh

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: object,
        batch_idx: int,
    ) -> None:
        first = self.fresh and trainer.current_epoch == batch_idx == 0
        if not first or not isinstance(pl_module, Learner) or not pl_module.spec.dense:
            return
        if not isinstance(pl_module.loss, nn.CrossEntropyLoss | WeightedCrossEntropy):
            return
        mean = total(outputs["loss"]) / processes()  # each process has its share of the batch's
        loss = float(mean) * trainer.accumulate_grad_batches  # it is divided by that
        classes = len(pl_module.spec.classes)
        if loss > FACTOR * math.log(classes):
            pl_module.print(
                f"warning    the first loss is {loss:.1f}, more than {FACTOR:g} times that of "
                f"guessing, ln({classes}) = {math.log(classes):.2f}: the initial weights are too "
                "large (model.init_std), or the inputs are"
            )
