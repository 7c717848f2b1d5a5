"""Dilated convolution as its definition reads: loops over positions and taps, in numpy.

What the operators of `context_agg.ops` are explained by and tested against. Convolution is what
PyTorch calls so, a correlation: y[p] = sum over taps t of kernel[t] x[p + dilation t].
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from context_agg.analysis.receptive_field import input_gradient, support

Array = NDArray[np.float64]

EDGE_KERNEL = np.array([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]])
"""Centre against the eight neighbours: 0 where they are equal."""


def dilated_conv(x: Array, kernel: Array, dilation: int = 1) -> Array:
    """Of one map in one, two or three dimensions, where the kernel fits ("valid").

    Shape: x (n1, ...), kernel (k1, ...) -> (n1 - (k1 - 1) dilation, ...).

    Raises:
        ValueError: if the kernel does not fit, or has another number of dimensions.
    """
    if x.ndim != kernel.ndim:
        raise ValueError(f"x has {x.ndim} dimensions, the kernel {kernel.ndim}")
    span = [(side - 1) * dilation for side in kernel.shape]
    size = [length - extent for length, extent in zip(x.shape, span, strict=True)]
    if min(size) < 1:
        raise ValueError(
            f"a kernel of {kernel.shape} with dilation {dilation} needs "
            f"{tuple(extent + 1 for extent in span)}, x is {x.shape}"
        )
    y = np.zeros(size)
    for position in np.ndindex(*size):
        for tap in np.ndindex(*kernel.shape):
            seen = tuple(p + dilation * t for p, t in zip(position, tap, strict=True))
            y[position] += kernel[tap] * x[seen]
    return y


def cross_image(side: int = 16) -> Array:
    """0, with a cross of two pixels' width at 1."""
    image = np.zeros((side, side))
    middle = slice(side // 2 - 1, side // 2 + 1)
    image[middle, :] = image[:, middle] = 1
    return image


def multi_scale(
    x: Array, kernels: Sequence[Array], dilations: Sequence[int] = (1, 2, 4, 8)
) -> list[Array]:
    """A linear stack of dilated convolutions; every map has the size of x, zeros come in.

    Padding before the layer, not after it, keeps maps that are smaller than the dilated kernel.
    """
    maps = []
    for kernel, dilation in zip(kernels, dilations, strict=True):
        margin = (kernel.shape[0] - 1) * dilation // 2
        x = dilated_conv(np.pad(x, margin), kernel, dilation)
        maps.append(x)
    return maps


@dataclass(frozen=True)
class Measured:
    """What a stack of layers is like.

    Attributes:
        name: of the stack.
        receptive_field: side of what one output sees, by gradient, in pixels.
        resolution: share of the input's positions that the output has.
        parameters: weights and biases.
        milliseconds: of one forward pass, median.
    """

    name: str
    receptive_field: int
    resolution: float
    parameters: int
    milliseconds: float


def compare_layers(channels: int = 8, size: int = 64, repeats: int = 20) -> list[Measured]:
    """Four stacks of three convolutions, measured: plain, pooling, large kernels, dilated."""

    def conv(kernel: int, dilation: int = 1) -> nn.Module:
        margin = dilation * (kernel // 2)
        return nn.Conv2d(channels, channels, kernel, padding=margin, dilation=dilation)

    stacks: dict[str, Callable[[], list[nn.Module]]] = {
        "3x3": lambda: [conv(3), conv(3), conv(3)],
        "3x3 with pooling": lambda: [conv(3), nn.AvgPool2d(2), conv(3), nn.AvgPool2d(2), conv(3)],
        "large kernels": lambda: [conv(3), conv(5), conv(9)],
        "dilated 1 2 4": lambda: [conv(3), conv(3, 2), conv(3, 4)],
    }
    x = torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(0))
    results = []
    for name, layers in stacks.items():
        torch.manual_seed(0)
        stack = nn.Sequential(*layers())
        y = stack(x)
        seconds = []
        with torch.inference_mode():
            for _ in range(repeats):
                start = time.perf_counter()
                stack(x)
                seconds.append(time.perf_counter() - start)
        seen = support(input_gradient(stack, x, torch.Generator().manual_seed(0)))
        results.append(
            Measured(
                name,
                max(seen),
                y[0, 0].numel() / x[0, 0].numel(),
                sum(parameter.numel() for parameter in stack.parameters()),
                1000 * float(np.median(seconds)),
            )
        )
    return results


def plot_taps(dilations: Sequence[int] = (1, 2, 4)) -> Figure:
    """Which of the samples 1..10 the first output of a kernel of three taps sees, by dilation."""
    signal = range(1, 11)
    figure = Figure(figsize=(8, 5), layout="constrained")
    panels = figure.subplots(len(dilations), 1, sharex=True)
    for axes, dilation in zip(panels, dilations, strict=True):
        axes.plot(range(len(signal)), signal, "o", color="#56B4E9")
        used = [0, dilation, 2 * dilation]
        stem = axes.stem(used, [signal[i] for i in used], linefmt="--", markerfmt="*", basefmt=" ")
        stem.markerline.set_color("#D55E00")
        stem.stemlines.set_color("#D55E00")
        axes.set_ylabel("value")
        axes.set_title(f"dilation {dilation}: the first output spans {1 + 2 * dilation} samples")
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("position")
    return figure


def plot_edges(dilations: Sequence[int] = (1, 2)) -> Figure:
    """The cross and its edges, by dilation."""
    image = cross_image()
    figure = Figure(figsize=(3.2 * (1 + len(dilations)), 3.2), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(dilations))
    first.imshow(image, cmap="gray")
    first.set_title(f"image, {image.shape[0]}x{image.shape[1]}")
    for axes, dilation in zip(others, dilations, strict=True):
        edges = dilated_conv(image, EDGE_KERNEL, dilation)
        shown = axes.imshow(edges, cmap="RdBu", vmin=-6, vmax=6)
        side = 1 + 2 * dilation
        axes.set_title(f"dilation {dilation} sees {side}x{side}: {edges.shape[0]}x{edges.shape[1]}")
    figure.colorbar(shown, ax=others, shrink=0.8, label="output")
    for axes in (first, *others):
        axes.set_axis_off()
    return figure
