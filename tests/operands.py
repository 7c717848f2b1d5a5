"""Operands of a convolution, and the names of the exact ways to convolve."""

from typing import Any

import torch

CORRECT = [
    "auto",
    "manual",
    "manual_torch",
    "manual_taps",
]  # the names in CONV_OPS whose gradients are exact


def operands(
    n: int = 2,
    c: int = 3,
    k: int = 2,
    side: int = 3,
    h: int = 6,
    w: int = 5,
    *,
    bias: bool = True,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> tuple[Any, ...]:
    """Draws x (n, c, h, w), weight (k, c, side, side) and bias (k,) from N(0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(n, c, h, w), (k, c, side, side), (k,)]
    x, weight, b = (
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes
    )
    return x, weight, b if bias else None
