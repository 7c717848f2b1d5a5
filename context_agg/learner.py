"""The learner: loss, metrics, optimizer."""

import lightning as L
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy


class Learner(L.LightningModule):
    """Trains a network on cross-entropy and logs loss and accuracy of every epoch.

    Args:
        network: images (N, C, H, W) -> logits (N, K), or (N, K, H, W) for dense data.
        optimizer: of the network's parameters.
        num_classes: K.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer, num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.train_accuracy, self.val_accuracy, self.test_accuracy = (
            MulticlassAccuracy(num_classes, average="micro", validate_args=False) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self._step(batch, "train", self.train_accuracy)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._step(batch, "val", self.val_accuracy)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._step(batch, "test", self.test_accuracy)

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer

    def _step(self, batch: tuple[Tensor, Tensor], stage: str, accuracy: Metric) -> Tensor:
        x, target = batch
        logits = self(x)
        loss = F.cross_entropy(logits, target)
        accuracy(logits, target)
        self.log_dict(
            {f"{stage}/loss": loss, f"{stage}/accuracy": accuracy},
            on_step=False,
            on_epoch=True,
            prog_bar=True,
            batch_size=len(x),
        )
        return loss
