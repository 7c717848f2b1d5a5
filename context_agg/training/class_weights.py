"""Weights of classes that are rare, from how often they occur."""

from collections.abc import Iterable

import torch
from torch import Tensor

from context_agg.data.spec import VOID


def class_frequencies(labels: Iterable[Tensor], num_classes: int) -> Tensor:
    """The share of each class in the pixels of those images in which it occurs.

    Void pixels count for nothing. Where an image has one class, it counts like a pixel of one large
    image, so the share of a class is that in all images.

    Shape: labels (H, W) of each image, or (N,) of all -> (num_classes,) in float64; NaN for a class
        that never occurs.
    """
    pixels = torch.zeros(num_classes, dtype=torch.int64)
    around = torch.zeros(num_classes, dtype=torch.int64)  # pixels of the images with the class
    for image in labels:
        counts = torch.bincount(image.flatten().long(), minlength=VOID + 1)[:num_classes]
        pixels += counts
        around += torch.where(counts > 0, counts.sum(), 0)
    return pixels.double() / around  # 0 / 0 is NaN


def median_frequency(frequencies: Tensor) -> Tensor:
    """Weights by median frequency balancing: the median frequency over that of each class.

    So in SegNet (Badrinarayanan et al. 2015), after Eigen and Fergus (2015). A class that never
    occurs has weight 0; it does not count in the median.

    Shape: (num_classes,) -> (num_classes,).
    """
    # of an even number the mean of the two in the middle; torch's median takes the lower one
    median = frequencies.nanquantile(0.5)
    return (median / frequencies).nan_to_num(0.0)
