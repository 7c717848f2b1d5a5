"""What an epoch is measured by: the mean loss, and intersection over union from exact counts."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from context_agg.data.spec import VOID


class MeanLoss(Metric):
    """The mean over the images of the losses of batches, each a mean over its images.

    torchmetrics' own MeanMetric leaves out what is NaN, or warns of it.

    Shape: scalar loss and number of images -> scalar.
    """

    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, images: Tensor | int) -> None:
        self.total = self.total + loss.detach() * images
        self.images = self.images + images

    def compute(self) -> Tensor:
        return self.total / self.images


class MeanIoU(MulticlassConfusionMatrix):
    """|predicted and true| / |predicted or true|, averaged over the classes.

    The mean is over the classes that occur or were predicted; void pixels never count. The counts
    are integers over all images of an epoch, so neither the order nor the size of batches matters.

    Args:
        num_classes: K.

    Shape: logits (N, K, H, W) or predictions (N, H, W), target (N, H, W) -> scalar in float64.

    Attributes:
        per_class: the ratio of each class from the last `compute`, (K,) in float64; NaN for a
            class that neither occurs nor was predicted.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, ignore_index=VOID, validate_args=False)
        self.per_class = torch.full((num_classes,), torch.nan, dtype=torch.float64)

    def compute(self) -> Tensor:
        counts: Tensor = super().compute()
        both = counts.diag()
        either = counts.sum(0) + counts.sum(1) - both
        self.per_class = both.double() / either  # 0 / 0 is NaN
        return self.per_class.nanmean()
