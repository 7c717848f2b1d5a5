"""A plain training step, for measurements without a Trainer."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def step(network: nn.Module, loss: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:
    """Takes one optimizer step on one batch."""
    optimizer.zero_grad()
    torch.autograd.backward(loss(network(x), y))
    optimizer.step()
