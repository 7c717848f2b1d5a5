"""The learner brings together network, loss, metrics and optimizer."""

from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from context_agg.data.spec import VOID, DataSpec
from context_agg.training.collectives import gather, rank, settle_sums
from context_agg.training.global_mean import share_of_mean
from context_agg.training.metrics import MeanIoU, MeanLoss


class Learner(L.LightningModule):
    """Trains a network and logs the loss and accuracy of every epoch, and IoU for dense data.

    For dense data the accuracy is that of the pixels. `val/iou` and `test/iou` are means over the
    classes; `test/iou_CLASS` is the IoU of one class, for each class that occurs.

    Args:
        network: images (N, C, H, W) -> logits (N, K), or (N, K, H, W) for dense data.
        optimizer: optimizer of the network's parameters.
        spec: description of the data.
        loss: (logits, target) -> scalar, the mean over the batch; cross-entropy by default.
        schedule: of the optimizer's learning rate, by step; by default it is constant.

    Raises:
        ValueError: if the data are dense and the loss does not support them.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        spec: DataSpec,
        loss: nn.Module | None = None,
        schedule: LRScheduler | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.spec = spec
        self.loss = loss or nn.CrossEntropyLoss(ignore_index=VOID)
        self.schedule = schedule
        num_classes = len(spec.classes)
        if spec.dense:  # an unsuitable loss raises here, before the first step
            self.loss(torch.zeros(1, num_classes, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long))
        accuracy = MulticlassAccuracy(
            num_classes, average="micro", ignore_index=VOID, validate_args=False
        )
        iou = {"iou": MeanIoU(num_classes)} if spec.dense else {}
        metrics = MetricCollection({"accuracy": accuracy, **iou}, compute_groups=False)
        self.train_metrics = MetricCollection({"accuracy": accuracy.clone()}, prefix="train/")
        self.val_metrics = metrics.clone(prefix="val/")
        self.test_metrics = metrics.clone(prefix="test/")
        # Losses are metrics of ours too: Lightning's running means are not in its checkpoints.
        self.train_loss, self.val_loss, self.test_loss = MeanLoss(), MeanLoss(), MeanLoss()

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        return logits

    def on_train_start(self) -> None:
        if self.trainer.world_size > 1:
            model, weight = self.trainer.strategy.model, next(self.parameters())
            assert model is not None
            image = weight.new_zeros(1, self.spec.in_channels, *self.spec.image_size)
            with self.trainer.precision_plugin.forward_context():
                settle_sums(model, image)
        self.on_train_epoch_start()  # Lightning leaves it out when it goes on within an epoch

    def on_train_epoch_start(self) -> None:
        for module in self.network.modules():
            if callable(set_epoch := getattr(module, "set_epoch", None)):
                set_epoch(self.current_epoch)
            weights = list(module.parameters())
            if weights and not any(weight.requires_grad for weight in weights):
                module.eval()  # what is frozen drops nothing

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = self._step(batch, self.train_loss, self.train_metrics)
        if self.trainer.is_last_batch:
            self._log(self.train_loss, self.train_metrics)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._step(batch, self.val_loss, self.val_metrics)

    def on_validation_epoch_end(self) -> None:
        self._log(self.val_loss, self.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        self._step(batch, self.test_loss, self.test_metrics)

    def on_test_epoch_end(self) -> None:
        self._log(self.test_loss, self.test_metrics)
        if not self.spec.dense:
            return
        iou = self.test_metrics["iou"]
        assert isinstance(iou, MeanIoU)
        iou.compute()
        for name, value in zip(self.spec.classes, iou.per_class, strict=True):
            if not value.isnan():
                self.log(f"test/iou_{name}", value)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        if self.schedule is None:
            return self.optimizer
        return {
            "optimizer": self.optimizer,
            "lr_scheduler": {"scheduler": self.schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        states = [metric.metric_state for metric in self._train_metrics()]
        checkpoint["train_metrics"] = states
        if self.trainer.world_size > 1:
            checkpoint["train_metrics"] = gather(move_data_to_device(states, torch.device("cpu")))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        states = checkpoint["train_metrics"]
        if self.trainer.world_size > 1:
            states = states[rank()]
        for metric, state in zip(self._train_metrics(), states, strict=True):
            for name, value in state.items():
                setattr(metric, name, value.to(self.device))

    def _train_metrics(self) -> list[Metric]:
        """Those that may have seen a part of an epoch when a checkpoint is written."""
        return [self.train_loss, *self.train_metrics.values()]

    def _step(
        self, batch: tuple[Tensor, Tensor], mean_loss: MeanLoss, metrics: MetricCollection
    ) -> Tensor:
        """Returns the loss, if several processes train its share of it.

        It and the logits count in the metrics of the epoch.
        """
        x, target = batch
        logits = self(x)
        loss, images = share_of_mean(self.loss, logits, target)
        mean_loss.update(loss, images)
        if len(target):  # of a last batch this process may have nothing
            metrics.update(logits, target)
        return loss

    def _log(self, mean_loss: MeanLoss, metrics: MetricCollection) -> None:
        """Logs an epoch under the metrics' prefix: once, as Lightning takes its time over it."""
        self.log(f"{metrics.prefix}loss", mean_loss, on_step=False, on_epoch=True)
        self.log_dict(metrics, on_step=False, on_epoch=True)
