"""The learner: loss, metrics, optimizer."""

from collections.abc import Callable

import lightning as L
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from context_agg.shortcuts import GradientShortcuts

Schedule = Callable[[Optimizer, int], LRScheduler]
"""Of an optimizer, over so many steps."""


class Learner(L.LightningModule):
    """Trains a network and logs loss and accuracy of every epoch.

    Args:
        network: images (N, C, H, W) -> logits (N, K), or (N, K, H, W) for dense data.
        optimizer: of the network's parameters.
        num_classes: K.
        loss: (logits, target) -> scalar, the mean over the batch; cross-entropy if left out.
        schedule: of the learning rate, step by step; it stays as it is if left out.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        num_classes: int,
        loss: nn.Module | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.loss = loss or nn.CrossEntropyLoss()
        self.schedule = schedule
        self.train_accuracy, self.val_accuracy, self.test_accuracy = (
            MulticlassAccuracy(num_classes, average="micro", validate_args=False) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits

    def on_train_epoch_start(self) -> None:
        for module in self.network.modules():
            if isinstance(module, GradientShortcuts):
                module.epoch = self.current_epoch

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self._step(batch, "train", self.train_accuracy)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._step(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._step(batch, "test", self.test_accuracy)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.schedule is None:
            return self.optimizer
        scheduler = self.schedule(self.optimizer, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": self.optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _step(self, batch: tuple[Tensor, Tensor], stage: str, accuracy: Metric) -> Tensor:
        x, target = batch
        logits = self(x)
        loss: Tensor = self.loss(logits, target)
        accuracy(logits, target)
        self.log_dict(
            {f"{stage}/loss": loss, f"{stage}/accuracy": accuracy},
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(x),
        )
        return loss
