"""Plain training steps, for what the documents measure without a Trainer."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from context_agg.data.batches import ImageDataset


def batch_of(dataset: ImageDataset, index: Tensor | slice) -> tuple[Tensor, Tensor]:
    """Float images in 0..1 and int64 targets, as `ImageData` gives them to a learner."""
    return dataset.images[index].float() / 255, dataset.target[index].long()


def step(network: nn.Module, loss: nn.Module, optimizer: Optimizer, x: Tensor, y: Tensor) -> None:
    """One step of the optimizer on one batch."""
    optimizer.zero_grad()
    torch.autograd.backward(loss(network(x), y))
    optimizer.step()
