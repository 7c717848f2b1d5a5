"""Measures how well the gradients of a network agree with the true ones."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from context_agg.ops import ConvOp


class Alignment(NamedTuple):
    """How well a gradient agrees with the true one; NaN if the true one is zero."""

    cosine: float
    norm_ratio: float
    """|gradient| / |true gradient|"""
    sign_agreement: float
    """Share of entries with the same sign, among those where the true gradient is not zero."""


def align(gradient: Tensor, true: Tensor) -> Alignment:
    """Compares two tensors of the same shape, in float64."""
    a, b = gradient.detach().double().flatten(), true.detach().double().flatten()
    norms = a.norm(), b.norm()
    there = b != 0
    signs = (a.sign() == b.sign())[there].double()
    return Alignment(
        cosine=float((a / norms[0]) @ (b / norms[1])) if norms[0] and norms[1] else _zero(b),
        norm_ratio=float(norms[0] / norms[1]) if norms[1] else float("nan"),
        sign_agreement=float(signs.mean()) if there.any() else float("nan"),
    )


def _zero(true: Tensor) -> float:
    """The cosine of a zero gradient: 0, or undefined if the true one is zero too."""
    return 0.0 if true.any() else float("nan")


@contextmanager
def with_backprop(network: nn.Module, backprop: str | ConvOp) -> Iterator[None]:
    """Sets `backprop` of every part of the network that has one, and restores it at the end."""
    parts = [module for module in network.modules() if hasattr(module, "backprop")]
    before = [part.backprop for part in parts]
    try:
        for part in parts:
            part.backprop = backprop  # type: ignore[assignment]
        yield
    finally:
        for part, chosen in zip(parts, before, strict=True):
            part.backprop = chosen


def true_backward(network: nn.Module) -> AbstractContextManager[None]:
    """Within this context autograd makes the gradients: no hand-written rule, no shortcuts."""
    return with_backprop(network, "auto")


@contextmanager
def unnoticed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Within this context forward passes of the network leave no trace behind.

    Neither in the random numbers, which dropout draws, nor in the buffers, where batch norm counts.
    """
    before = [buffer.clone() for buffer in network.buffers()]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for buffer, kept in zip(network.buffers(), before, strict=True):
            buffer.copy_(kept)


def parameter_gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """The gradient of every trained parameter, by name; does not touch the parameters' .grad."""
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(loss, list(trained.values()), materialize_grads=True)
    return dict(zip(trained, grads, strict=True))


def network_gradients(
    network: nn.Module, loss: nn.Module, x: Tensor, target: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The gradients of the trained parameters with the network's own rules, and the true ones.

    Both forward passes draw the same random numbers, those that come next.
    """
    with unnoticed(network, x.device):
        ours = parameter_gradients(network, loss(network(x), target))
    with unnoticed(network, x.device), true_backward(network):
        true = parameter_gradients(network, loss(network(x), target))
    return ours, true


def network_alignment(
    network: nn.Module, loss: nn.Module, x: Tensor, target: Tensor
) -> dict[str, Alignment]:
    """Compares the gradient of every trained parameter, by name, with the true one."""
    ours, true = network_gradients(network, loss, x, target)
    return {name: align(ours[name], true[name]) for name in ours}


def by_layer(gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Joins the gradients of each layer's parameters, weight and bias, into one vector."""
    layers: dict[str, list[Tensor]] = {}
    for name, gradient in gradients.items():
        layers.setdefault(name.rpartition(".")[0], []).append(gradient.flatten())
    return {name: torch.cat(parts) for name, parts in layers.items()}
