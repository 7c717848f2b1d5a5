"""The autograd.Function of a layer: it deals with autograd, and a Rule does the arithmetic."""

import inspect
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from context_agg.ops.arguments import is_autocast_on, prepare

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., object])

Grads = tuple[Tensor | None, Tensor | None, Tensor | None]
"""grad_x, grad_weight and grad_bias; None for a gradient that is not needed."""

Needs = tuple[bool, bool, bool]
"""Whether the gradients of x, weight and bias are needed."""


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
    backward: Callable[[Tensor, Tensor, Tensor, Tensor | None, int, bool, Needs], Grads]


def with_signature(function: AnyFunction) -> AnyFunction:
    """Keeps a function's signature, which `Function.apply` would work out again at every call."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


class ReverseFunction(torch.autograd.Function):
    """Lets autograd use a rule's forward and backward."""

    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(
        x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool, rule: Rule
    ) -> Tensor:
        return rule.forward(x, weight, bias, dilation, relu)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.dilation, ctx.relu, ctx.rule = inputs
        # The output contains the ReLU mask; without a ReLU there is no need to keep it.
        tensors = x, weight, output if ctx.relu else None
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

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


class DilatedConvFunction(ReverseFunction):
    """Lets autograd use a rule, in forward mode too; torch.compile takes no Function with that."""

    @staticmethod
    def jvp(
        ctx: Any,
        along_x: Tensor | None,
        along_weight: Tensor | None,
        along_bias: Tensor | None,
        *_: Any,
    ) -> Tensor:
        """The convolution is linear in x, and in weight and bias; y says what the ReLU passes."""
        x, weight, y = ctx.saved_tensors
        along_y: Tensor | None = None
        if along_x is not None:
            along_y = apply(along_x, weight, None, ctx.dilation, False, ctx.rule)
        if along_weight is not None:
            part = apply(x, along_weight, along_bias, ctx.dilation, False, ctx.rule)
            along_y = part if along_y is None else along_y + part
        elif along_bias is not None:
            along_y = along_bias[:, None, None] + (0 if along_y is None else along_y)
            along_y = along_y.expand(len(x), len(weight), *x.shape[2:])
        assert along_y is not None  # without a direction there is nothing to ask for
        return along_y if y is None else torch.where(y > 0, along_y, 0)


def apply(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool, rule: Rule
) -> Tensor:
    """Convolves by a rule, with derivatives; the operands have been checked."""
    function = ReverseFunction if torch.compiler.is_compiling() else DilatedConvFunction
    y: Tensor = function.apply(x, weight, bias, dilation, relu, rule)
    return y


def conv_with(
    rule: Rule, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool = False
) -> Tensor:
    """A same-size dilated convolution whose forward and backward are the rule's.

    Shape: x (N, C, H, W), weight (K, C, k, k) with k odd, bias (K,) or None -> (N, K, H, W).

    Raises:
        ValueError: for a wrong rank, dtype, channel count, kernel size or dilation.
    """
    x, weight, bias = prepare(x, weight, bias, dilation)
    return apply(x, weight, bias, dilation, relu, rule)
