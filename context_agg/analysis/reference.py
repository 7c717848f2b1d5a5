"""Dilated convolution written as it is defined: loops over positions and taps, in numpy.

It explains the operators of `context_agg.ops`, which are tested against it. As in PyTorch,
convolution means correlation: y[p] = sum over taps t of kernel[t] x[p + dilation t].
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EDGE_KERNEL = np.array([[-1.0, -1, -1], [-1, 8, -1], [-1, -1, -1]])
"""Compares the centre with its eight neighbours; the output is 0 where all are equal."""


def dilated_conv(x: Array, kernel: Array, dilation: int = 1) -> Array:
    """Convolves one map in one, two or three dimensions, without padding ("valid").

    Shape: x (n1, ...), kernel (k1, ...) -> (n1 - (k1 - 1) dilation, ...).

    Raises:
        ValueError: if the kernel does not fit, or x has another number of dimensions.
    """
    if x.ndim != kernel.ndim:
        raise ValueError(f"x has {x.ndim} dimensions, the kernel {kernel.ndim}")
    span = [(side - 1) * dilation for side in kernel.shape]
    size = [length - extent for length, extent in zip(x.shape, span, strict=True)]
    if min(size) < 1:
        raise ValueError(
            f"a kernel of {kernel.shape} with dilation {dilation} needs "
            f"{tuple(extent + 1 for extent in span)}, but x is {x.shape}"
        )
    y = np.zeros(size)
    for position in np.ndindex(*size):
        for tap in np.ndindex(*kernel.shape):
            seen = tuple(p + dilation * t for p, t in zip(position, tap, strict=True))
            y[position] += kernel[tap] * x[seen]
    return y


def cross_image(side: int = 16) -> Array:
    """An image of zeros with a cross of ones, two pixels wide."""
    image = np.zeros((side, side))
    middle = slice(side // 2 - 1, side // 2 + 1)
    image[middle, :] = image[:, middle] = 1
    return image


def multi_scale(
    x: Array, kernels: Sequence[Array], dilations: Sequence[int] = (1, 2, 4, 8)
) -> list[Array]:
    """The maps of a linear stack of dilated convolutions, zero-padded to the size of x.

    Padding before each layer, not after it, allows maps smaller than the dilated kernel.
    """
    maps = []
    for kernel, dilation in zip(kernels, dilations, strict=True):
        margin = (kernel.shape[0] - 1) * dilation // 2
        x = dilated_conv(np.pad(x, margin), kernel, dilation)
        maps.append(x)
    return maps
