"""Gradient noise (Neelakantan et al. 2015, arXiv 1511.06807, section 3)."""

import lightning as L
import torch
from torch.optim import Optimizer

from context_agg.ops.checks import check_number
from context_agg.training.collectives import from_first


class GradientNoise(L.Callback):
    """Adds noise from N(0, eta / (1 + t)^gamma) to every gradient before step t, counted from 0.

    Args:
        eta: variance of the noise at the first step; the paper tries 0.01, 0.3 and 1.
        gamma: how fast the variance falls.
    """

    def __init__(self, eta: float, gamma: float = 0.55) -> None:
        check_number("eta", eta, 0)
        check_number("gamma", gamma, 0)
        self.eta = eta
        self.gamma = gamma

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        std = (self.eta / (1 + trainer.global_step) ** self.gamma) ** 0.5
        for parameter in pl_module.parameters():
            if parameter.grad is not None:
                noise = from_first(torch.randn_like(parameter.grad))  # else the weights would drift
                parameter.grad.add_(noise, alpha=std)
