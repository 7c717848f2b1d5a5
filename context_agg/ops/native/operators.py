"""Registers the compiled kernels with PyTorch: two operators, `conv` and `conv_backward`.

They have shapes for tensors without data and a rule for vmap, but no derivative: that is the
business of the autograd.Functions that call them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from context_agg.ops.function import Needs
from context_agg.ops.native import kernels

_torch: Any = torch.library  # it has no types
_LIBRARY = _torch.Library("context_agg", "DEF")
_LIBRARY.define(
    "conv(Tensor x, Tensor weight, Tensor? bias, int dilation, bool relu) -> Tensor",
    tags=torch.Tag.pt2_compliant_tag,
)
_LIBRARY.define(
    "conv_backward(Tensor grad_output, Tensor x, Tensor weight, Tensor? y, int dilation,"
    " bool[3] needs) -> (Tensor, Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
_LIBRARY.impl("conv", kernels.conv, "CPU")
_LIBRARY.impl("conv_backward", kernels.conv_backward, "CPU")

conv = torch.ops.context_agg.conv.default
conv_backward = torch.ops.context_agg.conv_backward.default


def _conv_fake(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool) -> Tensor:
    return kernels.empty_maps(x, weight.shape[0])


def _conv_backward_fake(
    grad_output: Tensor, x: Tensor, weight: Tensor, y: Tensor | None, dilation: int, needs: Needs
) -> tuple[Tensor, Tensor, Tensor]:
    return kernels.empty_grads(x, weight, needs)


def _conv_vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    dilation: int,
    relu: bool,
) -> tuple[Tensor, int]:
    if in_dims[1] is None and in_dims[2] is None:  # one layer for all: a larger batch
        assert in_dims[0] is not None
        images = x.movedim(in_dims[0], 0)
        y = conv(images.flatten(0, 1), weight, bias, dilation, relu)
        return y.unflatten(0, images.shape[:2]), 0
    samples = _samples(info, in_dims, x, weight, bias)
    return torch.stack([conv(*sample, dilation, relu) for sample in samples]), 0


def _conv_backward_vmap(
    info: Any,
    in_dims: tuple[int | None, ...],
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    dilation: int,
    needs: Needs,
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    samples = _samples(info, in_dims, grad_output, x, weight, y)
    grads = zip(*(conv_backward(*sample, dilation, needs) for sample in samples), strict=True)
    return tuple(map(torch.stack, grads)), (0, 0, 0)


def _samples(
    info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor | None
) -> list[list[Tensor | None]]:
    """The operands of each of the calls that vmap stands for."""

    def pick(number: int) -> Callable[[Tensor | None, int | None], Tensor | None]:
        return lambda tensor, dim: (
            tensor if tensor is None or dim is None else tensor.select(dim, number)
        )

    return [
        list(map(pick(number), tensors, in_dims[: len(tensors)]))
        for number in range(info.batch_size)
    ]


_torch.register_fake("context_agg::conv", _conv_fake, lib=_LIBRARY)
_torch.register_fake("context_agg::conv_backward", _conv_backward_fake, lib=_LIBRARY)
_torch.register_vmap("context_agg::conv", _conv_vmap, lib=_LIBRARY)
_torch.register_vmap("context_agg::conv_backward", _conv_backward_vmap, lib=_LIBRARY)
