"""The network as TensorBoard's graph."""

import copy
import warnings

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from context_agg.data.spec import DataSpec
from context_agg.gradients.agreement import true_backward


def write_graph(writer: SummaryWriter, network: nn.Module, spec: DataSpec) -> None:
    """Writes the network as TensorBoard's graph, its hand-written operators as convolutions."""
    network = copy.deepcopy(network)  # a copy is not compiled, which could not be traced
    image = torch.zeros(1, spec.in_channels, *spec.image_size).to(next(network.parameters()))
    with warnings.catch_warnings(), torch.no_grad(), true_backward(network):
        warnings.simplefilter("ignore")  # of tracing: that shapes are checked once
        writer.add_graph(network, image)
