"""Calls the compiled kernels on tensors."""

import ctypes
from collections.abc import Iterable
from threading import Lock

import torch
from torch import Tensor

from context_agg.ops.function import Needs
from context_agg.ops.native.compiler import Shape, compiler, libraries

SCALARS = {torch.float32: "float", torch.float64: "double"}
MOST_MAPS = 128  # layers with more have not been measured, see docs/benchmarks.md

_loaded: dict[Shape, ctypes.CDLL] = {}
_lock = Lock()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def available() -> bool:
    """Whether there is a compiler on this machine."""
    return compiler() is not None


def serve(device: torch.device, dtype: torch.dtype, maps: int) -> bool:
    """Whether layers of up to so many maps run on the compiled kernels."""
    return device.type == "cpu" and dtype in SCALARS and maps <= MOST_MAPS and available()


def prepare(shapes: Iterable[tuple[int, int, int, torch.dtype]]) -> None:
    """Compiles for layers (in_channels, out_channels, side, dtype), side by side, and loads.

    Raises:
        OSError: if the compiler fails.
    """
    wanted = {Shape(c, k, side, SCALARS[dtype]) for c, k, side, dtype in shapes}
    with _lock:
        for shape, file in libraries(sorted(wanted - _loaded.keys())).items():
            _loaded[shape] = ctypes.CDLL(str(file))


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool) -> Tensor:
    """The convolution, with bias and ReLU; y is channels_last.

    Shape: x (N, C, H, W), weight (K, C, k, k), bias (K,) or None -> (N, K, H, W).
    """
    x, weight = _nhwc(x), weight.contiguous()
    y = empty_maps(x, len(weight))
    if y.numel() > 0:
        bias = None if bias is None else bias.contiguous()
        tensors = map(_pointer, (x, weight, bias, y))
        _library(weight).conv(*tensors, *_sizes(x, dilation), ctypes.c_int(relu), _threads())
    return y


def conv_backward(
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    dilation: int,
    needs: Needs,
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `conv`; one that is not needed is empty.

    Args:
        grad_output: gradient at its output.
        x: its input.
        weight: its weight.
        y: its output if it had a ReLU, else None.
        dilation: its dilation.
        needs: whether the gradients of x, weight and bias are needed.

    Shape: x and grad_x (N, C, H, W), channels_last; y and grad_output (N, K, H, W).
    """
    grad_output, x, weight = _nhwc(grad_output), _nhwc(x), weight.contiguous()
    y = None if y is None else _nhwc(y)
    grads = empty_grads(x, weight, needs)
    if x.numel() == 0 or grad_output.numel() == 0:
        return grads[0].zero_(), grads[1].zero_(), grads[2].zero_()
    wanted = (grad if need else None for grad, need in zip(grads, needs, strict=True))
    tensors = map(_pointer, (grad_output, x, weight, y, *wanted))
    _library(weight).conv_backward(*tensors, *_sizes(x, dilation), _threads())
    return grads


def empty_maps(like: Tensor, maps: int) -> Tensor:
    """Uninitialised maps of the same height and width, channels_last."""
    n, _, height, width = like.shape
    # not a permuted view, which autograd would not let a caller change in place
    return torch.empty(
        (n, maps, height, width),
        dtype=like.dtype,
        device=like.device,
        memory_format=torch.channels_last,
    )


def empty_grads(x: Tensor, weight: Tensor, needs: Needs) -> tuple[Tensor, Tensor, Tensor]:
    """Uninitialised gradients of x, weight and bias; one that is not needed has no elements."""
    return (
        empty_maps(x, x.shape[1]) if needs[0] else x.new_empty(0),
        x.new_empty(weight.shape) if needs[1] else x.new_empty(0),
        x.new_empty(len(weight)) if needs[2] else x.new_empty(0),
    )


def _library(weight: Tensor) -> ctypes.CDLL:
    out_channels, in_channels, side, _ = weight.shape
    shape = Shape(in_channels, out_channels, side, SCALARS[weight.dtype])
    if shape not in _loaded:
        prepare([(in_channels, out_channels, side, weight.dtype)])
    return _loaded[shape]


def _nhwc(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _sizes(x: Tensor, dilation: int) -> list[ctypes.c_ssize_t]:
    n, _, height, width = x.shape
    # from here on no tap but the middle one sees the image, and the numbers stay small
    dilation = min(dilation, max(height, width))
    return [ctypes.c_ssize_t(size) for size in (n, height, width, dilation)]


def _threads() -> ctypes.c_int:
    return ctypes.c_int(torch.get_num_threads())
