"""All ways to convolve, by name."""

from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from context_agg.ops.arguments import prepare
from context_agg.ops.checks import check_choice
from context_agg.ops.function import Rule, conv_with
from context_agg.ops.manual import MANUAL
from context_agg.ops.mistakes import MISTAKES
from context_agg.ops.native import kernels
from context_agg.ops.rules import MANUAL_TAPS, MANUAL_TORCH, forward

__all__ = ["CONV_OPS", "ConvOp", "Rule", "conv_with", "get_conv_op", "is_native"]


class ConvOp(Protocol):
    """A same-size dilated convolution, followed by a ReLU if `relu` is true.

    Shape: x (N, C, H, W), weight (K, C, k, k) with k odd, bias (K,) or None -> (N, K, H, W).
    """

    def __call__(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool = False
    ) -> Tensor: ...


def conv_auto(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool = False
) -> Tensor:
    """PyTorch's convolution with PyTorch's backward, the standard of comparison."""
    return forward(*prepare(x, weight, bias, dilation), dilation, relu)


CONV_OPS: dict[str, ConvOp] = {
    "auto": conv_auto,  # PyTorch's forward and backward
    "manual": partial(conv_with, MANUAL),  # ours, by compiled kernels where they serve
    "manual_torch": partial(conv_with, MANUAL_TORCH),  # ours, by PyTorch's conv2d and products
    "manual_taps": partial(conv_with, MANUAL_TAPS),  # ours, tap by tap
    **{name: partial(conv_with, rule) for name, rule in MISTAKES.items()},  # each with a mistake
}

BY_PYTORCH = ("auto", "manual_torch", "manual_taps")  # the others take our kernels if they can


def is_native(backprop: str | ConvOp, device: torch.device, dtype: torch.dtype, maps: int) -> bool:
    """Whether a layer of up to so many maps runs on our compiled kernels."""
    ours = isinstance(backprop, str) and backprop not in BY_PYTORCH
    return ours and kernels.serve(device, dtype, maps)


def get_conv_op(backprop: str | ConvOp) -> ConvOp:
    """Returns the operator of that name; an operator is returned unchanged.

    Raises:
        ValueError: for an unknown name.
    """
    if callable(backprop):
        return backprop
    check_choice("backprop", backprop, tuple(CONV_OPS))
    return CONV_OPS[backprop]
