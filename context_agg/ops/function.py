"""The only autograd.Function: it deals with autograd, and a Rule does the arithmetic."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from context_agg.ops.arguments import is_autocast_on, prepare

Grads = tuple[Tensor | None, Tensor | None, Tensor | None]
"""grad_x, grad_weight and grad_bias; None for a gradient that is not needed."""


@dataclass(frozen=True)
class Rule:
    """A way to convolve: two plain functions on tensors, without any autograd.

    Shape: x (N, C, H, W), weight (K, C, k, k), bias (K,) or None, y and grad_output (N, K, H, W).

    Attributes:
        forward: (x, weight, bias, dilation, relu) -> y.
        backward: (grad_output, x, weight, y, dilation, relu, needs) -> grads. `y` is the output
            of forward if relu is true, else None; `needs` says for x, weight and bias whether
            the gradient is needed. Second derivatives require that all operations in it are
            differentiable.
    """

    forward: Callable[[Tensor, Tensor, Tensor | None, int, bool], Tensor]
    backward: Callable[
        [Tensor, Tensor, Tensor, Tensor | None, int, bool, tuple[bool, bool, bool]], Grads
    ]


class DilatedConvFunction(torch.autograd.Function):
    """Lets autograd use a rule's forward and backward."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool, rule: Rule
    ) -> Tensor:
        return rule.forward(x, weight, bias, dilation, relu)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.dilation, ctx.relu, ctx.rule = inputs
        # The output contains the ReLU mask; without a ReLU there is no need to keep it.
        ctx.save_for_backward(x, weight, output if ctx.relu else None)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, y = ctx.saved_tensors
        # Like PyTorch's own backward, compute in the dtype of the operands even when the caller
        # differentiates inside an autocast region.
        device = grad_output.device.type
        with torch.autocast(device, enabled=False) if is_autocast_on(x) else nullcontext():
            grads = ctx.rule.backward(
                grad_output, x, weight, y, ctx.dilation, ctx.relu, ctx.needs_input_grad[:3]
            )
        return *grads, None, None, None  # one per argument of forward


def conv_with(
    rule: Rule, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool = False
) -> Tensor:
    """A same-size dilated convolution whose forward and backward are the rule's.

    Shape: x (N, C, H, W), weight (K, C, k, k) with k odd, bias (K,) or None -> (N, K, H, W).

    Raises:
        ValueError: for a wrong rank, dtype, channel count, kernel size or dilation.
    """
    x, weight, bias = prepare(x, weight, bias, dilation)
    y: Tensor = DilatedConvFunction.apply(x, weight, bias, dilation, relu, rule)
    return y
