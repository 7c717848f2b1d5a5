"""Pictures of the study `convolutions` that nothing else draws."""

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.colors import FuncNorm
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from context_agg.analysis.colours import COLORS
from context_agg.analysis.features import LAYERS, in_words, layer_outputs
from context_agg.analysis.filters import KERNELS, apply_kernel
from context_agg.analysis.kronecker import Array, random_kernel
from context_agg.analysis.reference import EDGE_KERNEL, cross_image, dilated_conv
from context_agg.data.spec import DataSpec

ROW = 6  # boxes of the drawn architecture side by side


def plot_depth(depth: int = 8) -> Figure:
    """Draws the side of the view by depth for no dilation, dilations 2^l and 3^l, and Table 1."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for color, (name, dilations, style) in zip(
        COLORS,
        (
            ("dilation 3^l", [3**layer for layer in range(depth)], "^:"),
            ("dilation 2^l", [2**layer for layer in range(depth)], "s--"),
            ("Table 1", (1, 1, 2, 4, 8, 16, 1), "o-"),
            ("plain", [1] * depth, "v-."),
        ),
        strict=False,
    ):
        fields = [1 + total for total in accumulate(2 * dilation for dilation in dilations)]
        axes.plot(range(1, len(fields) + 1), fields, style, color=color, label=name)
    axes.set(yscale="log", xlabel="3x3 layers (9 weights each)", ylabel="side of the view, pixels")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_filters(image: Tensor, dilations: Sequence[int] = (1, 2, 4)) -> Figure:
    """Draws the image and the output of each kernel, a row per dilation."""
    figure = Figure(figsize=(1.12 * (1 + len(KERNELS)), 1.3 * len(dilations)), layout="constrained")
    grid = figure.subplots(len(dilations), 1 + len(KERNELS))
    for row, dilation in zip(grid, dilations, strict=True):
        row[0].imshow(image[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        row[0].set_ylabel(f"dilation {dilation}")
        for axes, name in zip(row[1:], KERNELS, strict=True):
            result = apply_kernel(image, name, dilation)[0, 0].numpy()
            gain = sum(map(sum, KERNELS[name]))
            low, high = (0, max(gain, 1)) if gain > 0.5 else (-0.5, 0.5)
            axes.imshow(result, cmap="gray", vmin=low, vmax=high)
        for axes in row:
            axes.set_xticks([])
            axes.set_yticks([])
    for axes, name in zip(grid[0], ("image", *KERNELS), strict=True):
        axes.set_title(name.replace(" ", "\n"), fontsize="medium")
    return figure


def plot_pooling(image: Tensor, kernel: int = 8) -> Figure:
    """Draws the image and its maximum and mean over each square of kernel x kernel pixels."""
    figure = Figure(figsize=(8, 2.9), layout="constrained")
    pooled = {
        "image": image,
        f"max pooling {kernel}x{kernel}": F.max_pool2d(image, kernel),
        f"average pooling {kernel}x{kernel}": F.avg_pool2d(image, kernel),
    }
    for axes, (name, result) in zip(figure.subplots(1, 3), pooled.items(), strict=True):
        axes.imshow(result[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{name}: {result.shape[2]}x{result.shape[3]}", fontsize="medium")
        axes.set_axis_off()
    return figure


def plot_kernels(seeds: Sequence[int] = range(4)) -> Figure:
    """Draws random 27x27 Kronecker kernels, and below them fractals of one 3x3 factor.

    Each kernel is divided by its largest entry. The colours follow the signed square root, so
    that small entries show.
    """
    figure = Figure(figsize=(2.1 * len(seeds) + 0.6, 4.6), layout="constrained")
    above, below = figure.subplots(2, len(seeds))
    scale = FuncNorm((_signed_root, lambda root: root * np.abs(root)), vmin=-1, vmax=1)
    for column, seed in enumerate(seeds):
        for axes, kernel in (
            (above[column], random_kernel(seed)),
            (below[column], random_kernel(seed, 4, same=True)),
        ):
            shown = axes.imshow(kernel / np.abs(kernel).max(), cmap="RdBu", norm=scale)
    above[0].set_title("three factors: 27x27, 27 numbers", loc="left", fontsize="medium")
    below[0].set_title("one factor four times: 81x81, 9 numbers", loc="left", fontsize="medium")
    for axes in (*above, *below):
        axes.set_axis_off()
    bar = figure.colorbar(shown, ax=[*above, *below], shrink=0.8, aspect=30)
    bar.set_ticks([-1, -0.5, -0.1, 0, 0.1, 0.5, 1])
    bar.set_label("entry / largest entry (scale: signed square root)")
    return figure


def _signed_root(x: Array) -> Array:
    root: Array = np.sign(x) * np.sqrt(np.abs(x))
    return root


def plot_approximations(results: dict[str, dict[str, tuple[int, float]]]) -> Figure:
    """Draws the relative errors from `compare_approximations` for each matrix."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    kinds = next(iter(results.values()))
    width = 0.8 / len(results)
    for number, (name, result) in enumerate(results.items()):
        places = np.arange(len(kinds)) + width * (number - (len(results) - 1) / 2)
        color = COLORS[number % len(COLORS)]
        axes.bar(places, [result[kind][1] for kind in kinds], width, color=color, label=name)
    labels = [f"{kind}\n{count} numbers" for kind, (count, _) in kinds.items()]
    axes.set_xticks(range(len(kinds)), labels, rotation=30, ha="right")
    axes.set(ylabel="relative error", ylim=(0, 1.15))
    axes.grid(axis="y", alpha=0.3)
    axes.legend(loc="upper center", ncols=len(results))
    return figure


def plot_shift_errors(errors: dict[str, list[float]]) -> Figure:
    """Draws `shift_error` of each network for shifts of 1, 2, ... pixels, on a symlog scale."""
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    axes = figure.subplots()
    for (name, values), marker, color in zip(errors.items(), "os^vD*", COLORS, strict=False):
        axes.plot(range(1, len(values) + 1), values, f"{marker}-", color=color, label=name)
    axes.set_yscale("symlog", linthresh=1e-7)
    axes.set(xlabel="shift, pixels", ylabel="relative error", ylim=(-2e-8, 10))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def plot_edges(dilations: Sequence[int] = (1, 2)) -> Figure:
    """Draws the cross and its edges, by dilation."""
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


def describe_layers(network: nn.Module, spec: DataSpec) -> list[str]:
    """Describes every layer of a network in words, from the image to the classes.

    Each description gives the kind of layer and its output size: maps x height x width, or units.
    """
    image = torch.zeros(1, spec.in_channels, *spec.image_size)
    outputs = layer_outputs(network, image.to(next(network.parameters()).dtype))
    modules = dict(network.named_modules())
    lines = [f"image\n{spec.in_channels}x{spec.image_size[0]}x{spec.image_size[1]}"]
    for name, y in outputs.items():
        size = "x".join(map(str, y.shape[1:]))
        lines.append(f"{in_words(modules[name])}\n{size}")
    return lines


def plot_architecture(network: nn.Module, spec: DataSpec) -> Figure:
    """Draws the network as boxes in rows of six; the larger the dilation, the darker the box."""
    lines = describe_layers(network, spec)
    dilations = [0, *(_dilation(m) for m in network.modules() if isinstance(m, LAYERS))]
    rows = math.ceil(len(lines) / ROW)
    figure = Figure(figsize=(1.25 * min(len(lines), ROW), 1.3 * rows), layout="constrained")
    axes = figure.subplots()
    for number, (line, dilation) in enumerate(zip(lines, dilations, strict=True)):
        x, y = number % ROW, -1.3 * (number // ROW)
        shade = min(dilation, 16).bit_length() / 8
        color = (1 - shade, 1 - shade / 2, 1.0) if dilation else "0.92"
        box = FancyBboxPatch((x, y), 0.8, 1, boxstyle="round,pad=0.04", facecolor=color)
        axes.add_patch(box)
        words = line.replace(", ", "\n").replace("fully ", "fully\n")
        axes.text(x + 0.4, y + 0.5, words, ha="center", va="center", fontsize=9)
        if number:
            axes.annotate(
                "", (x - 0.02, y + 0.5), (x - 0.18, y + 0.5), arrowprops={"arrowstyle": "->"}
            )
    axes.set(xlim=(-0.2, min(len(lines), ROW)), ylim=(1.15 - 1.3 * rows, 1.15))
    axes.set_axis_off()
    return figure


def _dilation(module: nn.Module) -> int:
    return int(module.dilation[0]) if isinstance(module, nn.Conv2d) else 0
