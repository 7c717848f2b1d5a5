"""Linear stacks of dilated convolutions as one kernel, and when it is a Kronecker product.

This follows the note "Dilated convolutions and Kronecker factored convolutions" (inFERENCe, 2016).
With a x a kernels and dilation a^l in layer l, no ReLU and one map,

    K_L *_{a^L} ( ... K_1 *_a (K_0 * x)) = (K_L (x) ... (x) K_1 (x) K_0) * x,

where the kernel with the largest dilation is the outer factor. Any padding must be done once,
before the first layer.
"""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def run_stack(x: Tensor, weights: Sequence[Tensor], dilations: Sequence[int]) -> Tensor:
    """Runs the linear stack layer by layer, without padding ("valid").

    Shape: x (N, C, H, W), weights (K, C, a, a) each -> (N, K, H', W').
    """
    for weight, dilation in zip(weights, dilations, strict=True):
        x = F.conv2d(x, weight, dilation=dilation)
    return x


def composite_kernel(weights: Sequence[Tensor], dilations: Sequence[int]) -> Tensor:
    """The single kernel equivalent to a linear stack, for any dilations and numbers of maps.

    Each kernel is spread out by its dilation and convolved with those before; taps may overlap.

    Shape: weights (K_l, K_{l-1}, a, a) -> (K_L, K_0's C, RF, RF).
    """
    kernel, *others = (_spread(w, d) for w, d in zip(weights, dilations, strict=True))
    for weight in others:
        margin = weight.shape[-1] - 1
        # to compose two correlations, rotate the second kernel and slide it over the first
        kernel = F.conv2d(kernel.transpose(0, 1), weight.flip(2, 3), padding=margin).transpose(0, 1)
    return kernel


def _spread(weight: Tensor, dilation: int) -> Tensor:
    side = (weight.shape[-1] - 1) * dilation + 1
    spread = weight.new_zeros(*weight.shape[:2], side, side)
    spread[..., ::dilation, ::dilation] = weight
    return spread


def kronecker_kernel(weights: Sequence[Tensor]) -> Tensor:
    """K_L (x) ... (x) K_0 of a stack, given as K_0, ..., K_L; several maps make a matrix product.

    For two layers, kernel[o, c] is the sum over maps m between them of W_1[o, m] (x) W_0[m, c].

    Shape: weights (K_l, K_{l-1}, a, a) -> (K_L, K_0's C, a^(L+1), a^(L+1)).
    """

    def outer(inner: Tensor, factor: Tensor) -> Tensor:
        product = torch.einsum("omij,mckl->ocikjl", factor, inner)
        side = factor.shape[-1] * inner.shape[-1]
        return product.reshape(factor.shape[0], inner.shape[1], side, side)

    return reduce(outer, weights)


def spread_by_kronecker(kernel: Array, dilation: int) -> Array:
    """A dilated kernel as the Kronecker product K (x) E, where E is 1 in its first corner, else 0.

    The result has dilation - 1 rows and columns of zeros after the last taps.

    Shape: (a, a) -> (a dilation, a dilation).
    """
    corner = np.zeros((dilation, dilation))
    corner[0, 0] = 1
    return _kron([kernel, corner])


def _kron(factors: Sequence[Array]) -> Array:
    product = np.ones((1, 1))
    for factor in factors:
        product = np.kron(product, factor).astype(np.float64)
    return product


def nearest_kronecker(matrix: Array, side: int) -> tuple[Array, Array]:
    """The B (side x side) and C whose B (x) C is nearest to a square matrix in least squares.

    They come from the best rank-1 approximation of the matrix whose rows are its blocks; see Van
    Loan and Pitsianis, "Approximation with Kronecker products", 1993.

    Raises:
        ValueError: if the matrix is not square, or `side` does not divide its side.
    """
    n = len(matrix)
    if matrix.shape != (n, n) or n % side:
        raise ValueError(f"side={side} must divide a square matrix, not {matrix.shape}")
    inner = n // side
    blocks = matrix.reshape(side, inner, side, inner).swapaxes(1, 2)
    u, s, v = np.linalg.svd(blocks.reshape(side**2, inner**2))
    scale = np.sqrt(s[0])
    return scale * u[:, 0].reshape(side, side), scale * v[0].reshape(inner, inner)


def nearest_kronecker_power(matrix: Array, side: int, rounds: int = 50) -> list[Array]:
    """Equal-sized factors whose Kronecker product is near a matrix of side^m, outermost first.

    Starting from repeated `nearest_kronecker`, it optimises one factor at a time, with the others
    fixed (the product is linear in each factor). It ends in a local optimum.

    Raises:
        ValueError: if the side of the matrix is not a power of `side`.
    """
    factors, rest = [], matrix
    while len(rest) > side:
        first, rest = nearest_kronecker(rest, side)
        factors.append(first)
    if len(rest) != side:
        raise ValueError(f"the side of {matrix.shape} is not a power of {side}")
    factors.append(rest)
    for _ in range(rounds):
        for k in range(len(factors)):
            outer, inner = _kron(factors[:k]), _kron(factors[k + 1 :])
            a, b = len(outer), len(inner)
            blocks = matrix.reshape(a, side, b, a, side, b)
            norm = (outer**2).sum() * (inner**2).sum()
            if norm > 0:
                factors[k] = np.einsum("ipjqrs,iq,js->pr", blocks, outer, inner) / norm
    return factors


def low_rank(matrix: Array, rank: int) -> Array:
    """The nearest matrix of rank at most `rank` (Eckart and Young)."""
    u, s, v = np.linalg.svd(matrix)
    nearest: Array = (u[:, :rank] * s[:rank]) @ v[:rank]
    return nearest


def relative_error(approximation: Array, matrix: Array) -> float:
    """|approximation - matrix| / |matrix|, in Frobenius norms."""
    return float(np.linalg.norm(approximation - matrix) / np.linalg.norm(matrix))


def random_kernel(seed: int, factors: int = 3, side: int = 3, *, same: bool = False) -> Array:
    """A Kronecker product of factors from N(0, 1); if `same`, of one factor with itself, a fractal.

    Shape: (side^factors, side^factors).
    """
    generator = np.random.default_rng(seed)
    drawn = [generator.standard_normal((side, side)) for _ in range(1 if same else factors)]
    return _kron(drawn * factors if same else drawn)


def compare_approximations(matrix: Array) -> dict[str, tuple[int, float]]:
    """How near each family comes to a 27x27 matrix: the numbers it takes and its relative error.

    Three 3x3 factors, or the symmetric u u^T, take 27 numbers. Two such products of factors, or
    u v^T, take 54; a 9x9 and a 3x3 factor take 90.

    Raises:
        ValueError: for another size.
    """
    if matrix.shape != (27, 27):
        raise ValueError(f"the matrix is {matrix.shape}, not (27, 27)")
    three = nearest_kronecker_power(matrix, 3)
    twice = nearest_kronecker_power(matrix - _kron(three), 3)
    nine, inner = nearest_kronecker(matrix, 9)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    largest = int(np.argmax(np.abs(values)))
    symmetric = values[largest] * np.outer(vectors[:, largest], vectors[:, largest])
    return {
        "3x3 (x) 3x3 (x) 3x3": (27, relative_error(_kron(three), matrix)),
        "u u^T": (27, relative_error(symmetric, matrix)),
        "two of 3x3 (x) 3x3 (x) 3x3": (54, relative_error(_kron(three) + _kron(twice), matrix)),
        "u v^T": (54, relative_error(low_rank(matrix, 1), matrix)),
        "9x9 (x) 3x3": (90, relative_error(_kron([nine, inner]), matrix)),
        "rank 2": (108, relative_error(low_rank(matrix, 2), matrix)),
    }
