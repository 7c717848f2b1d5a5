"""Colours of the classes of dense data."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.colors import hsv_to_rgb
from torch import Tensor

from context_agg.data.spec import VOID

GREY = 7
"""Its place in matplotlib's map; on the grey of a street or a car it would not be seen."""


def palette(classes: Sequence[str]) -> Tensor:
    """A colour for every label, uint8 (256, 3): black for a background, white for void.

    Up to 18 classes have colours of matplotlib's maps, first the strong ones of tab20, then the
    light ones, without the greys; more have hues a golden ratio apart.
    """
    first = int(has_background(classes))
    count = len(classes) - first
    tab20 = np.array(matplotlib.colormaps["tab20"](range(20)))[:, :3]  # strong and light in turn
    colours = np.concatenate([np.delete(tab20[start::2], GREY, 0) for start in (0, 1)])
    if count > len(colours):
        number = np.arange(count)
        hue, light = 0.618034 * number % 1, 1 - 0.5 * (number % 3) / 3
        colours = hsv_to_rgb(np.stack([hue, np.full(count, 0.8), light], 1))
    table = torch.zeros(256, 3, dtype=torch.uint8)
    table[first : len(classes)] = torch.from_numpy(255 * colours[:count]).round().byte()
    table[VOID] = 255
    return table


def has_background(classes: Sequence[str]) -> bool:
    """Whether class 0 is that of all pixels that show nothing; then an overlay leaves it as it is.

    So it is in VOC and in the scenes of digits. In CamVid class 0 is the sky.
    """
    return classes[0] == "background"


def colourise(labels: Tensor, classes: Sequence[str]) -> Tensor:
    """Labels (..., H, W) -> their colours (..., 3, H, W), uint8."""
    return palette(classes)[labels.long()].movedim(-1, -3)
