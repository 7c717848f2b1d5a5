"""The compiled kernels as a rule, with derivatives of every order made of the same two kernels.

docs/method.md derives what stands here.
"""

from typing import Any

import torch
from torch import Tensor

from context_agg.ops.function import Grads, Needs, Rule, apply, with_signature
from context_agg.ops.native import operators


class ReverseConvBackward(torch.autograd.Function):
    """The backward pass of a layer as a function of its own, which has derivatives again.

    With G = grad_output where y > 0, else 0, it computes

        grad_x = convT(G, weight),  grad_weight = corr(x, G),  grad_bias = sum(G).

    All three are linear in G, and in weight or x, so its derivatives are convolutions and
    backward passes again. y only says where the ReLU lets pass; that has no derivative.
    """

    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(
        grad_output: Tensor,
        x: Tensor,
        weight: Tensor,
        y: Tensor | None,
        dilation: int,
        *needs: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        grads: tuple[Tensor, Tensor, Tensor] = operators.conv_backward(
            grad_output, x, weight, y, dilation, needs
        )
        return grads

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.dilation = inputs[:5]
        ctx.needs = inputs[5:]
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, to_grad_x: Tensor | None, to_grad_weight: Tensor | None, to_bias: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        grad_output, x, weight, y = ctx.saved_tensors
        to_x, to_w, to_b = (
            grad if need else None
            for grad, need in zip((to_grad_x, to_grad_weight, to_bias), ctx.needs, strict=True)
        )
        d, (need_grad, need_x, need_weight, *_) = ctx.dilation, ctx.needs_input_grad
        back = seen = weights = None
        if need_grad:
            if to_x is not None:
                back = conv(to_x, weight, None, d)
            if to_w is not None:
                back = _plus(back, conv(x, to_w, to_b, d))
            elif to_b is not None:
                back = _plus(back, to_b[:, None, None].expand_as(grad_output))
            if back is not None and y is not None:
                back = torch.where(y > 0, back, 0)
        if need_x and to_w is not None:
            seen = conv_backward(grad_output, x, to_w, y, d, (True, False, False))[0]
        if need_weight and to_x is not None:
            weights = conv_backward(grad_output, to_x, weight, y, d, (False, True, False))[1]
        return back, seen, weights, *5 * [None]


class ConvBackward(ReverseConvBackward):
    """The same, with forward mode; torch.compile takes no Function with that."""

    @staticmethod
    def jvp(
        ctx: Any,
        along_grad: Tensor | None,
        along_x: Tensor | None,
        along_weight: Tensor | None,
        *_: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        grad_output, x, weight, y = ctx.saved_tensors
        needs: Needs = ctx.needs
        along = torch.zeros_like(grad_output) if along_grad is None else along_grad
        grads = list(conv_backward(along, x, weight, y, ctx.dilation, needs))
        if along_weight is not None and needs[0]:
            only_x = (True, False, False)
            grads[0] = (
                grads[0] + conv_backward(grad_output, x, along_weight, y, ctx.dilation, only_x)[0]
            )
        if along_x is not None and needs[1]:
            only_weight = (False, True, False)
            grads[1] = (
                grads[1]
                + conv_backward(grad_output, along_x, weight, y, ctx.dilation, only_weight)[1]
            )
        return grads[0], grads[1], grads[2]


def conv_backward(
    grad_output: Tensor, x: Tensor, weight: Tensor, y: Tensor | None, dilation: int, needs: Needs
) -> tuple[Tensor, Tensor, Tensor]:
    """grad_x, grad_weight and grad_bias of `conv`; one that is not needed is empty.

    Args:
        grad_output: gradient at its output.
        x: its input.
        weight: its weight.
        y: its output if a ReLU follows, else None.
        dilation: its dilation.
        needs: whether the gradients of x, weight and bias are needed.
    """
    function = ReverseConvBackward if torch.compiler.is_compiling() else ConvBackward
    grads: tuple[Tensor, Tensor, Tensor] = function.apply(
        grad_output, x, weight, y, dilation, *needs
    )
    return grads


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """The convolution, without ReLU."""
    return apply(x, weight, bias, dilation, False, NATIVE)


def backward(
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    dilation: int,
    relu: bool,
    needs: Needs,
) -> Grads:
    """The gradients of a layer that are needed, in one pass over its images."""
    del relu  # y says it
    grads = conv_backward(grad_output, x, weight, y, dilation, needs)
    grad_x, grad_weight, grad_bias = (
        grad if need else None for grad, need in zip(grads, needs, strict=True)
    )
    return grad_x, grad_weight, grad_bias


NATIVE = Rule(operators.conv, backward)


def _plus(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b
