"""The layers of a network, and their outputs for an image."""

from collections.abc import Mapping
from textwrap import fill

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from context_agg.networks.context import DilatedConv2d

LAYERS = (nn.Conv2d, nn.Linear, nn.MaxPool2d)


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
        words = in_words(modules[title]) if title in modules else title
        panel.set_title(words.replace(", ", "\n"), fontsize="medium")
    return figure


def _show(axes: Axes, y: Tensor, colors: str) -> None:
    axes.imshow(y.numpy(), cmap=colors)
    scale = f"{float(y.min()):.2g} to {float(y.max()):.2g}"
    axes.set_xlabel(fill(scale, 12), fontsize="small", labelpad=2)
    axes.set_xticks([])
    axes.set_yticks([])


def in_words(module: nn.Module) -> str:
    """Describes a layer: "3x3, dilation 2, ReLU", "fully connected" or "max pooling"."""
    if isinstance(module, nn.Conv2d):
        words = f"{module.kernel_size[0]}x{module.kernel_size[1]}"
        if module.dilation[0] > 1:
            words += f", dilation {module.dilation[0]}"
        return words + (", ReLU" if isinstance(module, DilatedConv2d) and module.relu else "")
    return "fully connected" if isinstance(module, nn.Linear) else "max pooling"
