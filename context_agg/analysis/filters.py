"""Hand-set kernels on a real image, pooling, and the cost of several kinds of convolution.

The kernels are the grey versions of those in a Stanford lecture note (CS 20, note 7).
"""

from importlib.resources import files
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

KERNELS: dict[str, list[list[float]]] = {
    "blur": [[1, 1, 1], [1, 1, 1], [1, 1, 1]],  # adds up to 9: nine times as bright
    "normalised blur": [
        [1 / 16, 2 / 16, 1 / 16],
        [2 / 16, 4 / 16, 2 / 16],
        [1 / 16, 2 / 16, 1 / 16],
    ],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "edge": [[0, -1, 0], [-1, 4, -1], [0, -1, 0]],
    "Sobel": [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],  # positive for light above dark
    "emboss": [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]],
}


def apply_kernel(image: Tensor, name: str, dilation: int = 1) -> Tensor:
    """Applies a kernel of `KERNELS` to every channel separately, with the border repeated.

    Shape: (N, C, H, W) -> (N, C, H, W).

    Raises:
        ValueError: for an unknown name.
    """
    if name not in KERNELS:
        raise ValueError(f"unknown kernel {name!r}; choose one of {', '.join(KERNELS)}")
    channels = image.shape[1]
    weight = torch.tensor(KERNELS[name], dtype=image.dtype).expand(channels, 1, 3, 3)
    padded = F.pad(image, (dilation,) * 4, mode="replicate")
    return F.conv2d(padded, weight, dilation=dilation, groups=channels)


def output_size(
    size: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Side of the output of a convolution or a pooling, in pixels.

    It is (size - span + 2 padding) / stride + 1, rounded down; span = (kernel - 1) dilation + 1.

    Raises:
        ValueError: if the kernel does not fit.
    """
    span = (kernel - 1) * dilation + 1
    if size + 2 * padding < span:
        raise ValueError(f"a span of {span} does not fit into {size} pixels padded by {padding}")
    return (size - span + 2 * padding) // stride + 1


class Cost(NamedTuple):
    """The cost of a layer: weights without bias, and multiplications per output position."""

    weights: int
    multiplications: int


def costs(kernel: int, c_in: int, c_out: int, multiplier: int = 1) -> dict[str, Cost]:
    """Costs of a full, a depthwise (`multiplier` maps per input map) and a separable layer."""
    full = kernel**2 * c_in * c_out
    depthwise = kernel**2 * c_in * multiplier
    separable = depthwise + c_in * multiplier * c_out
    return {
        "full": Cost(full, full),
        "depthwise": Cost(depthwise, depthwise),
        "separable": Cost(separable, separable),
    }


def separable(
    kernel: int, c_in: int, c_out: int, multiplier: int = 1, dilation: int = 1
) -> nn.Module:
    """A depthwise convolution followed by a 1x1 one, without bias; keeps height and width."""
    margin = dilation * (kernel // 2)
    maps = c_in * multiplier
    return nn.Sequential(
        nn.Conv2d(c_in, maps, kernel, padding=margin, dilation=dilation, groups=c_in, bias=False),
        nn.Conv2d(maps, c_out, 1, bias=False),
    )


def photograph(side: int = 256) -> Tensor:
    """The middle of a real photograph (scikit-learn's flower), grey, 0..1: (1, 1, side, side)."""
    file = files("sklearn.datasets") / "images" / "flower.jpg"
    with file.open("rb") as stream, Image.open(stream) as image:
        grey = np.asarray(image.convert("L"), dtype=np.float32) / 255
    top, left = ((length - side) // 2 for length in grey.shape)
    return torch.from_numpy(grey[top : top + side, left : left + side].copy())[None, None]
