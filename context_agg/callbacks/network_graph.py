"""Shows the network as a graph in TensorBoard."""

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
    """Writes the graph before training; prints a message if the network cannot be traced."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not isinstance(pl_module, Learner) or not isinstance(trainer.logger, TensorBoardLogger):
            return
        if trainer.ckpt_path is not None:
            return  # the run goes on: it is there already
        try:
            write_graph(trainer.logger.experiment, pl_module.network, pl_module.spec)
        except RuntimeError as error:
            pl_module.print(f"no graph for TensorBoard: {str(error).splitlines()[0]}")


def write_graph(writer: SummaryWriter, network: nn.Module, spec: DataSpec) -> None:
    """Writes the network to the event file, with hand-written operators as convolutions."""
    network = copy.deepcopy(network)  # the copy is not compiled, so it can be traced
    image = torch.zeros(1, spec.in_channels, *spec.image_size).to(next(network.parameters()))
    with warnings.catch_warnings(), torch.no_grad(), true_backward(network):
        warnings.simplefilter("ignore")  # tracing warns that shapes are checked once
        writer.add_graph(network, image)
    _forget_traces()


def _forget_traces() -> None:
    """Frees what PyTorch keeps of every traced network, some megabytes (pytorch#35600)."""
    torch._C._jit_clear_class_registry()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
