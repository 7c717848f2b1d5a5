"""The maps of the layers, the drawn architecture, TensorBoard's graph."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from context_agg.analysis.features import (
    layer_outputs,
    plot_maps,
)
from context_agg.callbacks.network_graph import write_graph
from context_agg.data.spec import DataSpec
from context_agg.networks.context_net import ContextNet
from context_agg.networks.heads import LinearNet
from context_agg.networks.lecture import LectureNet

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


@pytest.mark.parametrize(
    "network",
    [context_net(), LinearNet(**SPEC.shapes), LectureNet("default", 0.5, **SPEC.shapes)],
    ids=["context", "linear", "lecture"],
)
def test_tensorboard_gets_the_graph(network: nn.Module, tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        write_graph(writer, network, SPEC)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    nodes = events.Graph().node
    ops = [node.op for node in nodes]
    convolutions = sum(isinstance(m, nn.Conv2d) for m in network.modules())
    assert ops.count("aten::_convolution") == convolutions
    assert "prim::PythonOp" not in ops
    assert network.training


def test_the_graph_of_a_compiled_network_and_its_backprop_stay(tmp_path: Path) -> None:
    net = context_net()
    net.compile(backend="eager")
    with SummaryWriter(str(tmp_path)) as writer:
        write_graph(writer, net, SPEC)
    assert [conv.backprop for conv in net.context.convolutions] == ["manual"] * 4
    assert net(torch.rand(1, 1, 12, 10)).shape == (1, 3)
