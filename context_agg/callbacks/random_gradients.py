"""A control for wrong gradients: noise in their place."""

from collections.abc import Sequence

import lightning as L
import torch
from torch import nn
from torch.optim import Optimizer

from context_agg.training.collectives import from_first
from context_agg.training.learner import Learner


class RandomGradients(L.Callback):
    """Replaces the gradient of each parameter of some parts by Gaussian noise of the same norm.

    Args:
        parts: names of parts of the network, such as context.layers.0.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self.parts = list(parts)
        self._parameters: list[nn.Parameter] = []

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        there = map(pl_module.network.get_submodule, self.parts)
        self._parameters = [parameter for part in there for parameter in part.parameters()]

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        for parameter in self._parameters:
            if parameter.grad is not None:
                noise = from_first(torch.randn_like(parameter.grad))  # else the weights would drift
                parameter.grad.copy_(noise * (parameter.grad.norm() / noise.norm()))
