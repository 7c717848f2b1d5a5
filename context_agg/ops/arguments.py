"""Checks and autocast of the operands, the same for every way to convolve."""

import torch
from torch import Tensor

from context_agg.ops.checks import check_whole


def prepare(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Casts the operands as autocast would, and rejects those that cannot be convolved.

    The cast happens outside the autograd.Function, so that autograd returns the gradients in
    the dtype of the caller's tensors (float32 weights keep float32 gradients).

    Raises:
        ValueError: for a wrong rank, dtype, channel count, kernel size or dilation.
    """
    if is_autocast_on(x):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight = _cast(x, dtype), _cast(weight, dtype)
        bias = None if bias is None else _cast(bias, dtype)
    _check_shapes(x, weight, bias)
    _check_dtypes(x, weight, bias)
    check_whole("dilation", dilation)
    return x, weight, bias


def is_autocast_on(tensor: Tensor) -> bool:
    """Whether the tensor's device is in an autocast region; the meta device has none."""
    device = tensor.device.type
    return device != "meta" and torch.is_autocast_enabled(device)


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Casts a floating-point tensor, unless it is float64, which autocast leaves alone."""
    casts = tensor.is_floating_point() and tensor.dtype != torch.float64
    return tensor.to(dtype) if casts else tensor


def _check_shapes(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dim() != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}; it must have 4 axes, (N, C, H, W)")
    if weight.dim() != 4:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}; it must have 4 axes, (K, C, k, k)"
        )
    out_channels, in_channels, height, width = weight.shape
    if height != width or height % 2 == 0:
        raise ValueError(
            f"the kernel is {height}x{width}; it must be square with an odd side (1, 3, 5, ...)"
        )
    if x.shape[1] != in_channels:
        raise ValueError(f"x has {x.shape[1]} channels, but weight takes {in_channels}")
    if bias is not None and bias.shape != (out_channels,):
        raise ValueError(
            f"bias has shape {tuple(bias.shape)}; weight makes {out_channels} maps, "
            f"so it must be ({out_channels},)"
        )


def _check_dtypes(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if not x.dtype.is_floating_point:
        raise ValueError(f"x has dtype {x.dtype}; it must be a floating-point dtype")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None and tensor.dtype != x.dtype:
            raise ValueError(f"{name} has dtype {tensor.dtype}; it must be that of x, {x.dtype}")
