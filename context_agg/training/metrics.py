"""How well pixels are classified: intersection over union, from exact counts."""

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from context_agg.data.spec import VOID


class IntersectionOverUnion(MulticlassConfusionMatrix):
    """Of every class, |predicted and true| / |predicted or true|; pixels that are void never count.

    Integer counts over all images of an epoch, so the order and size of batches does not matter.

    Args:
        num_classes: K.

    Shape: logits (N, K, H, W) or predictions (N, H, W), target (N, H, W) -> (K,) in float64; NaN
    for a class that neither occurs nor was predicted.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, ignore_index=VOID, validate_args=False)

    def compute(self) -> Tensor:
        counts: Tensor = super().compute()
        both = counts.diag()
        either = counts.sum(0) + counts.sum(1) - both
        return both.double() / either  # 0 / 0 is NaN


def mean_iou(ious: Tensor) -> Tensor:
    """The mean over the classes that occur or were predicted."""
    return torch.nanmean(ious)
