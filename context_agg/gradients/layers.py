"""Compares an operator with the true one on each layer of a network by itself."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from context_agg.gradients.agreement import true_backward
from context_agg.networks.context import DilatedConv2d
from context_agg.ops import ConvOp


class LayerCase(NamedTuple):
    """The operands of one layer of a network, and the gradient at its output."""

    name: str
    x: Tensor
    weight: Tensor
    bias: Tensor | None
    dilation: int
    relu: bool
    grad_output: Tensor


def layer_cases(network: nn.Module, loss: nn.Module, x: Tensor, target: Tensor) -> list[LayerCase]:
    """The cases of all `DilatedConv2d` layers, with the loss's true gradients at their outputs."""
    seen: list[tuple[str, DilatedConv2d, Tensor, Tensor]] = []
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, DilatedConv2d):

            def keep(
                module: nn.Module, operands: tuple[Tensor], y: Tensor, name: str = name
            ) -> None:
                assert isinstance(module, DilatedConv2d)
                y.retain_grad()
                seen.append((name, module, operands[0].detach(), y))

            handles.append(module.register_forward_hook(keep))
    x = x.detach().requires_grad_()  # so that frozen layers have gradients at their outputs too
    with true_backward(network):
        try:
            value = loss(network(x), target)
        finally:  # before the backward pass, which runs layers again if the network recomputes them
            for handle in handles:
                handle.remove()
        value.backward()
    cases = []
    for name, conv, operand, y in seen:
        bias = None if conv.bias is None else conv.bias.detach()
        weight, dilation = conv.weight.detach(), conv.dilation[0]
        assert y.grad is not None
        cases.append(LayerCase(name, operand, weight, bias, dilation, conv.relu, y.grad))
    return cases


def layer_tensors(op: ConvOp, case: LayerCase, dtype: torch.dtype) -> dict[str, Tensor]:
    """y, grad_x, grad_weight and grad_bias of an operator; a gradient that it lacks is 0."""
    operands = {"x": case.x, "weight": case.weight, "bias": case.bias}
    leaves = {
        name: operand.to(dtype, copy=True).requires_grad_()
        for name, operand in operands.items()
        if operand is not None
    }
    y = op(leaves["x"], leaves["weight"], leaves.get("bias"), case.dilation, case.relu)
    wanted = list(leaves.values())
    grads = torch.autograd.grad(y, wanted, case.grad_output.to(dtype), materialize_grads=True)
    return {
        "y": y.detach(),
        **{f"grad_{name}": grad for name, grad in zip(leaves, grads, strict=True)},
    }


def true_conv(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool = False
) -> Tensor:
    """The standard of comparison: PyTorch's convolution and its autograd, called directly."""
    y = F.conv2d(x, weight, bias, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)
    return y.relu() if relu else y


def with_random_kernel(case: LayerCase) -> LayerCase:
    """Returns the case with weights and biases from N(0, 1 / fan-in).

    An identity kernel, for example, is zero except in the middle, which hides errors elsewhere.
    """
    generator = torch.Generator().manual_seed(0)
    std = case.weight[0].numel() ** -0.5

    def draw(like: Tensor) -> Tensor:
        values = torch.randn(like.shape, generator=generator, dtype=like.dtype).mul_(std)
        return values.to(like.device)

    bias = None if case.bias is None else draw(case.bias)
    return case._replace(weight=draw(case.weight), bias=bias)
