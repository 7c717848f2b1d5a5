"""TensorBoard's graph of a network."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from context_agg.callbacks.network_graph import write_graph
from context_agg.data.spec import DataSpec
from context_agg.networks.context_net import ContextNet
from context_agg.networks.heads import LinearNet
from context_agg.networks.lecture import LectureNet

SPEC = DataSpec("digits", 1, (12, 10), tuple("abc"))


def context_net() -> ContextNet:
    torch.manual_seed(0)
    return ContextNet(2, (1, 2, 4), (1, 1, 1), **SPEC.shapes)


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
