"""The network as TensorBoard's graph."""

import copy
import warnings

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from context_agg.data.spec import DataSpec
from context_agg.gradients.agreement import true_backward
from context_agg.training.learner import Learner


class NetworkGraph(L.Callback):
    """Writes the graph before training begins; says so where a network cannot be traced."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, Learner) or not isinstance(trainer.logger, TensorBoardLogger):
            return
        try:
            write_graph(trainer.logger.experiment, pl_module.network, pl_module.spec)
        except RuntimeError as error:
            pl_module.print(f"no graph for TensorBoard: {str(error).splitlines()[0]}")


def write_graph(writer: SummaryWriter, network: nn.Module, spec: DataSpec) -> None:
    """Writes the network to the event file, its hand-written operators as convolutions."""
    network = copy.deepcopy(network)  # a copy is not compiled, which could not be traced
    image = torch.zeros(1, spec.in_channels, *spec.image_size).to(next(network.parameters()))
    with warnings.catch_warnings(), torch.no_grad(), true_backward(network):
        warnings.simplefilter("ignore")  # of tracing: that shapes are checked once
        writer.add_graph(network, image)
