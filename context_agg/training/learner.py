"""The learner: loss, metrics, optimizer."""

from collections.abc import Callable

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from context_agg.data.spec import VOID, DataSpec
from context_agg.training.metrics import IntersectionOverUnion, mean_iou

Schedule = Callable[[Optimizer, int], LRScheduler]
"""Of an optimizer, over so many steps."""


class Learner(L.LightningModule):
    """Trains a network and logs loss and accuracy of every epoch; of dense data IoU too.

    For dense data the accuracy is that of the pixels. `val/iou` and `test/iou` are means over the
    classes, `test/iou_CLASS` are those of each that occurs.

    Args:
        network: images (N, C, H, W) -> logits (N, K), or (N, K, H, W) for dense data.
        optimizer: of the network's parameters.
        spec: of the data.
        loss: (logits, target) -> scalar, the mean over the batch; cross-entropy if left out.
        schedule: of the learning rate, step by step; it stays as it is if left out.

    Raises:
        ValueError: for dense data and a loss that cannot take them.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        spec: DataSpec,
        loss: nn.Module | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.spec = spec
        self.loss = loss or nn.CrossEntropyLoss(ignore_index=VOID)
        self.schedule = schedule
        num_classes = len(spec.classes)
        if spec.dense:  # a loss that cannot take it refuses here, and not in the first step
            self.loss(torch.zeros(1, num_classes, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
        self.train_accuracy, self.val_accuracy, self.test_accuracy = (
            MulticlassAccuracy(num_classes, average="micro", ignore_index=VOID, validate_args=False)
            for _ in range(3)
        )
        self.val_iou, self.test_iou = (IntersectionOverUnion(num_classes) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits

    def on_train_epoch_start(self) -> None:
        for module in self.network.modules():
            if callable(set_epoch := getattr(module, "set_epoch", None)):
                set_epoch(self.current_epoch)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss, _ = self._step(batch, "train", self.train_accuracy)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        _, logits = self._step(batch, "val", self.val_accuracy)
        if self.spec.dense:
            self.val_iou.update(logits, batch[1])

    def on_validation_epoch_end(self) -> None:
        if self.spec.dense:
            self.log("val/iou", mean_iou(self.val_iou.compute()), prog_bar=True)
            self.val_iou.reset()

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        _, logits = self._step(batch, "test", self.test_accuracy)
        if self.spec.dense:
            self.test_iou.update(logits, batch[1])

    def on_test_epoch_end(self) -> None:
        if self.spec.dense:
            ious = self.test_iou.compute()
            self.log("test/iou", mean_iou(ious))
            for name, iou in zip(self.spec.classes, ious, strict=True):
                if not iou.isnan():
                    self.log(f"test/iou_{name}", iou)
            self.test_iou.reset()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.schedule is None:
            return self.optimizer
        scheduler = self.schedule(self.optimizer, int(self.trainer.estimated_stepping_batches))
        return {
            "optimizer": self.optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def _step(
        self, batch: tuple[Tensor, Tensor], stage: str, accuracy: Metric
    ) -> tuple[Tensor, Tensor]:
        """Loss and logits."""
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
        return loss, logits
