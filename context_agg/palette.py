"""Colours of the classes of dense data."""

import matplotlib
import torch
from torch import Tensor

from context_agg.data.images import VOID


def palette(num_classes: int) -> Tensor:
    """A colour for every label: (256, 3), uint8. Class 0, the background, is black, void is white.

    Raises:
        ValueError: for more classes than there are colours.
    """
    colours = matplotlib.colormaps["tab10" if num_classes <= 11 else "tab20"](range(20))
    if num_classes > 21:
        raise ValueError(f"{num_classes} classes: there are colours for 21")
    table = torch.zeros(256, 3, dtype=torch.uint8)
    table[1:num_classes] = torch.from_numpy(255 * colours[: num_classes - 1, :3]).round().byte()
    table[VOID] = 255
    return table


def colourise(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (..., H, W) -> their colours (..., 3, H, W), uint8."""
    return palette(num_classes)[labels.long()].movedim(-1, -3)
