"""The layers of a network, and their outputs for an image."""

import math
from collections.abc import Mapping
from textwrap import fill

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import Tensor, nn

from context_agg.data.spec import DataSpec
from context_agg.networks.context import DilatedConv2d

LAYERS = (nn.Conv2d, nn.Linear, nn.MaxPool2d)
ROW = 6  # boxes per row of the drawn architecture


def layer_outputs(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The output of every convolution, pooling and fully connected layer, in the order they run."""
    outputs: dict[str, Tensor] = {}
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, LAYERS):

            def keep(module: nn.Module, inputs: object, y: Tensor, name: str = name) -> None:
                outputs[name] = y

            handles.append(module.register_forward_hook(keep))
    try:
        with torch.inference_mode():
            network(x)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def plot_maps(networks: Mapping[str, nn.Module], image: Tensor, maps: int = 4) -> Figure:
    """Draws the first maps of all convolutions for an image (1, C, H, W), by network and map.

    The networks must have the same layers. A map is drawn from its smallest to its largest value,
    which stand below it.
    """
    outputs = {name: layer_outputs(network, image) for name, network in networks.items()}
    layers = [name for name, y in next(iter(outputs.values())).items() if y.dim() == 4]
    modules = dict(next(iter(networks.values())).named_modules())
    rows = [(name, number) for name in networks for number in range(maps)]
    figure = Figure(figsize=(0.9 * (1 + len(layers)), 1.15 * len(rows) + 0.6), layout="constrained")
    panels = figure.subplots(len(rows), 1 + len(layers), squeeze=False)
    for (name, number), axes in zip(rows, panels, strict=True):
        _show(axes[0], image[0, 0], "gray")
        axes[0].set_ylabel(f"{name}\nmap {number + 1}")
        for panel, layer in zip(axes[1:], layers, strict=True):
            y = outputs[name][layer][0]
            if number < len(y):
                _show(panel, y[number], "viridis")
            else:
                panel.set_axis_off()
    for panel, title in zip(panels[0], ("image", *layers), strict=True):
        words = _in_words(modules[title]) if title in modules else title
        panel.set_title(words.replace(", ", "\n"), fontsize="medium")
    return figure


def _show(axes: Axes, y: Tensor, colors: str) -> None:
    axes.imshow(y.numpy(), cmap=colors)
    scale = f"{float(y.min()):.2g} to {float(y.max()):.2g}"
    axes.set_xlabel(fill(scale, 12), fontsize="small", labelpad=2)
    axes.set_xticks([])
    axes.set_yticks([])


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
        lines.append(f"{_in_words(modules[name])}\n{size}")
    return lines


def _in_words(module: nn.Module) -> str:
    if isinstance(module, nn.Conv2d):
        words = f"{module.kernel_size[0]}x{module.kernel_size[1]}"
        if module.dilation[0] > 1:
            words += f", dilation {module.dilation[0]}"
        return words + (", ReLU" if isinstance(module, DilatedConv2d) and module.relu else "")
    return "fully connected" if isinstance(module, nn.Linear) else "max pooling"


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
