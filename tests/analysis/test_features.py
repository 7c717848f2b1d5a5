"""The maps of the layers, the drawn architecture, TensorBoard's graph."""

import torch

from context_agg.analysis.features import (
    layer_outputs,
    plot_maps,
)
from context_agg.data.spec import DataSpec
from context_agg.networks.context_net import ContextNet

SPEC = DataSpec("digits", 1, (12, 10), tuple("abc"))


def context_net() -> ContextNet:
    torch.manual_seed(0)
    return ContextNet(2, (1, 2, 4), (1, 1, 1), **SPEC.shapes)


def test_layer_outputs_are_what_the_layers_give_one_after_the_other() -> None:
    net, x = context_net(), torch.rand(2, 1, 12, 10)
    outputs = layer_outputs(net, x)
    names = ["front_end", *(f"context.layers.{i}" for i in range(4)), "head.1"]
    assert list(outputs) == names
    y = x
    for name in names[:-1]:
        y = net.get_submodule(name)(y)
        assert torch.equal(outputs[name], y)
    assert torch.equal(outputs["head.1"], net(x))
    assert not any(module._forward_hooks for module in net.modules())


def test_the_maps_of_two_networks_side_by_side() -> None:
    image = torch.rand(1, 1, 12, 10)
    figure = plot_maps({"one": context_net(), "two": context_net()}, image, maps=3)
    assert len(figure.axes) == 2 * 3 * (1 + 5)
    assert figure.axes[0].get_ylabel() == "one\nmap 1"
    assert figure.axes[3].get_title() == "3x3\ndilation 2\nReLU"
    assert figure.axes[0].get_xlabel() == f"{image.min():.2g} to {image.max():.2g}"
