"""Colours of the classes of dense data."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from torch import Tensor

from context_agg.data.spec import VOID


def palette(num_classes: int) -> Tensor:
    """A colour for every label, uint8 (256, 3): black for class 0, white for void.

    Up to 20 other classes have colours of matplotlib's maps; more have hues a golden ratio apart.
    """
    if num_classes <= 21:
        colours = matplotlib.colormaps["tab10" if num_classes <= 11 else "tab20"](range(20))
    else:
        number = np.arange(num_classes - 1)
        hue, light = 0.618034 * number % 1, 1 - 0.5 * (number % 3) / 3
        colours = hsv_to_rgb(np.stack([hue, np.full(len(hue), 0.8), light], 1))
    table = torch.zeros(256, 3, dtype=torch.uint8)
    table[1:num_classes] = torch.from_numpy(255 * colours[: num_classes - 1, :3]).round().byte()
    table[VOID] = 255
    return table


def has_background(classes: Sequence[str]) -> bool:
    """Whether class 0 is that of all pixels that show nothing; then an overlay leaves it as it is.

    So it is in VOC and in the scenes of digits. In CamVid class 0 is the sky.
    """
    return classes[0] == "background"


def colourise(labels: Tensor, num_classes: int) -> Tensor:
    """Labels (..., H, W) -> their colours (..., 3, H, W), uint8."""
    return palette(num_classes)[labels.long()].movedim(-1, -3)
