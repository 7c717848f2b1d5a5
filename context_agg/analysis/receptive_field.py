"""What one output of stacked convolutions sees: by formula, by counting paths, by gradient."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from context_agg.networks.context import ContextModule, DilatedConv2d

Counts = NDArray[np.int64]


def receptive_fields(convolutions: Sequence[DilatedConv2d]) -> list[int]:
    """Side of the receptive field after every layer, in pixels (the last row of Table 1)."""
    spans = ((conv.kernel_size[0] - 1) * conv.dilation[0] for conv in convolutions)
    return [1 + total for total in accumulate(spans)]


def paths(dilations: Sequence[int], kernel_size: int = 3) -> Counts:
    """The number of paths from each input position to one output, (RF, RF), output at the centre.

    A path takes one tap in every layer; there are kernel_size^2 to the number of layers in total.
    """
    line = np.ones(1, dtype=np.int64)
    for dilation in dilations:
        taps = np.zeros((kernel_size - 1) * dilation + 1, dtype=np.int64)
        taps[::dilation] = 1
        line = np.convolve(line, taps)
    return np.outer(line, line)  # the tap's row and column are chosen independently


def coverage(dilations: Sequence[int], kernel_size: int = 3) -> float:
    """Share of the positions in the receptive field that the output sees; below 1 is gridding."""
    return float((paths(dilations, kernel_size) > 0).mean())


def input_gradient(module: nn.Module, x: Tensor, generator: torch.Generator) -> Tensor:
    """How much the middle output depends on every input position, as (H, W).

    This is the absolute gradient of a random combination of the maps at the output's middle pixel,
    summed over input maps and averaged over images; after Luo et al. 2016 (arXiv 1701.04128).

    Shape: x (N, C, H, W); the module's output has the same height and width.
    """
    x = x.detach().requires_grad_()
    y = module(x)
    middle = y[:, :, y.shape[2] // 2, y.shape[3] // 2]
    signs = torch.randn(middle.shape, generator=generator, dtype=y.dtype).to(y.device)
    (gradient,) = torch.autograd.grad((signs * middle).sum(), x)
    return gradient.abs().sum(1).mean(0)


def support(weight: Tensor) -> tuple[int, int]:
    """Height and width of the smallest box that contains all nonzero entries, in pixels."""
    rows, columns = ((weight != 0).any(dim).nonzero().flatten() for dim in (1, 0))
    return int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1


def effective_side(weight: Tensor, share: float = 0.95) -> int:
    """Side of the smallest centred square that holds this share of the weight, in pixels.

    Raises:
        ValueError: if the weight is zero.
    """
    total = float(weight.sum())
    if not total > 0:
        raise ValueError("the weight is zero: nothing reaches the output")
    row, column = weight.shape[0] // 2, weight.shape[1] // 2
    for radius in range(max(weight.shape)):
        rows = slice(max(row - radius, 0), row + radius + 1)
        columns = slice(max(column - radius, 0), column + radius + 1)
        if float(weight[rows, columns].sum()) >= share * total:
            return 2 * radius + 1
    raise AssertionError  # the last square holds everything


def plot_taps(dilations: Sequence[int] = (1, 2, 4)) -> Figure:
    """Draws which of the samples 1..10 the first output of a 3-tap kernel sees, by dilation."""
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


def plot_growth() -> Figure:
    """Draws the paper's Figure 1: the views after dilations 1, 2, 4, and the last layer's taps."""
    figure = Figure(figsize=(7.5, 2.9), layout="constrained")
    for axes, layer, letter in zip(figure.subplots(1, 3), range(3), "abc", strict=True):
        dilations = [1, 2, 4][: layer + 1]
        counts = paths(dilations)
        side, grid = len(counts), 17
        seen = np.zeros((grid, grid))
        inside = slice((grid - side) // 2, (grid + side) // 2)
        seen[inside, inside] = counts > 0
        axes.imshow(seen, cmap="Greens", vmin=0, vmax=2)
        taps = grid // 2 + dilations[-1] * np.array([-1, 0, 1])
        axes.plot(*(points.ravel() for points in np.meshgrid(taps, taps)), "o", color="#D55E00")
        axes.set_xticks(np.arange(grid + 1) - 0.5, [])
        axes.set_yticks(np.arange(grid + 1) - 0.5, [])
        axes.grid(color="0.8", linewidth=0.5)
        axes.tick_params(length=0)
        axes.set_title(f"({letter}) dilation {dilations[-1]}: {side}x{side}")
    return figure


def plot_gridding(stacks: Sequence[Sequence[int]]) -> Figure:
    """Draws the number of paths to each position, relative to the largest; white is none."""
    figure = Figure(figsize=(2 * len(stacks), 2.7), layout="constrained")
    for axes, dilations in zip(np.atleast_1d(figure.subplots(1, len(stacks))), stacks, strict=True):
        counts = paths(dilations).astype(float)
        shares = np.where(counts > 0, counts / counts.max(), np.nan)
        image = axes.imshow(shares, cmap="viridis", vmin=0, vmax=1)
        axes.set_title(f"{' '.join(map(str, dilations))}\n{100 * coverage(dilations):.0f} % seen")
        axes.set_xlabel(f"{len(counts)} pixels")
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(image, ax=figure.axes, shrink=0.7, label="paths, share of the most")
    return figure


def plot_measured(weights: dict[str, Tensor]) -> Figure:
    """Draws maps from `input_gradient`, each with its support and its effective side."""
    figure = Figure(figsize=(2.5 * len(weights), 3), layout="constrained")
    for axes, (name, weight) in zip(
        np.atleast_1d(figure.subplots(1, len(weights))), weights.items(), strict=True
    ):
        height, width = support(weight)
        levels = (weight / weight.max()).clamp(min=1e-6).log10()
        image = axes.imshow(levels.numpy(), cmap="magma", vmin=-4, vmax=0)
        axes.set_title(f"{name}\nsees {height}x{width}, 95 % in {effective_side(weight)}")
        axes.set_xticks([])
        axes.set_yticks([])
    figure.colorbar(image, ax=figure.axes, shrink=0.7, label="log10 of the weight")
    return figure


def module_weight(module: ContextModule, size: int = 81, images: int = 8) -> Tensor:
    """`input_gradient` of a context module on uniform noise in 0..1, (size, size)."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(images, module.channels, size, size, generator=generator)
    return input_gradient(module, x, generator)
