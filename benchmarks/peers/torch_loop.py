"""A plain loop in PyTorch over batches in memory: with our layers, and with PyTorch's own."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.problem import CLASSES, Array, Gradients, Problem
from context_agg.networks.context_net import ContextNet


def our_network(problem: Problem, weights: list[Array]) -> nn.Module:
    """`model=basic`."""
    network = ContextNet(
        problem.channels,
        problem.dilations,
        [1] * len(problem.dilations),
        in_channels=1,
        image_size=(problem.side, problem.side),
        num_classes=CLASSES,
        backprop="manual",
    )
    return with_weights(network, weights).to(memory_format=torch.channels_last)


def users_network(problem: Problem, weights: list[Array]) -> nn.Module:
    """The same network as users of PyTorch write it."""
    layers: list[nn.Module] = []
    for c_in, c_out, side, dilation in problem.convolutions:
        layers.append(nn.Conv2d(c_in, c_out, side, padding="same", dilation=dilation))
        layers.append(nn.ReLU())
    layers.pop()  # the last layer is linear
    head = nn.Linear(problem.channels * problem.side**2, CLASSES)
    return with_weights(nn.Sequential(*layers, nn.Flatten(), head), weights)


def with_weights(network: nn.Module, weights: list[Array]) -> nn.Module:
    """Gives a network its weights; its parameters are in the same order."""
    with torch.no_grad():
        for parameter, weight in zip(network.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weight))
    return network


def gradients(network: nn.Module, x: Tensor, target: Tensor) -> Gradients:
    """The loss of one batch, and its gradients."""
    loss = F.cross_entropy(network(x), target)
    grads = torch.autograd.grad(loss, list(network.parameters()))
    return Gradients(loss.item(), [grad.contiguous().numpy() for grad in grads])


class TorchLoop:
    """A loop over batches that are cut from tensors."""

    def __init__(
        self,
        problem: Problem,
        network: nn.Module,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self.network = network.to(memory_format=layout)
        self.layout = layout
        self.images = torch.from_numpy(problem.images())[:, None]
        self.targets = torch.from_numpy(problem.targets())
        self.size = problem.batch

    def batch(self, first: int) -> tuple[Tensor, Tensor]:
        """The batch that begins with an image."""
        x = self.images[first : first + self.size].float() / 255
        return x.contiguous(memory_format=self.layout), self.targets[first : first + self.size]

    def check(self) -> Gradients:
        return gradients(self.network, *self.batch(0))

    def train(self, tick: Callable[[], None]) -> None:
        optimizer = torch.optim.Adam(self.network.parameters())
        for first in range(0, len(self.images), self.size):
            x, target = self.batch(first)
            optimizer.zero_grad()
            F.cross_entropy(self.network(x), target).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            tick()


class Ours(TorchLoop):
    """Our network, with `manual`, in the layout that `context_agg.train` chooses."""

    def __init__(self, problem: Problem, weights: list[Array]) -> None:
        super().__init__(problem, our_network(problem, weights), torch.channels_last)


class PyTorch(TorchLoop):
    """PyTorch's layers and gradients, in the layout that users get."""

    def __init__(self, problem: Problem, weights: list[Array]) -> None:
        super().__init__(problem, users_network(problem, weights))


class ChannelsLast(TorchLoop):
    """PyTorch's layers and gradients, in the layout that is faster on the CPU."""

    def __init__(self, problem: Problem, weights: list[Array]) -> None:
        super().__init__(problem, users_network(problem, weights), torch.channels_last)
