"""A plain training step, for what a study measures without a Trainer."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def step(network: nn.Module, loss: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:
    """One step of the optimizer on one batch."""
    optimizer.zero_grad()
    torch.autograd.backward(loss(network(x), y))
    optimizer.step()
