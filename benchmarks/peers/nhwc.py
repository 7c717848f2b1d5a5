"""Weights in the layout of TensorFlow and JAX, where the maps of a pixel lie side by side."""

from collections.abc import Sequence

from benchmarks.problem import CLASSES, Array, Problem


def to_nhwc(problem: Problem, weights: Sequence[Array]) -> list[Array]:
    """Kernels (K, C, k, k) -> (k, k, C, K), the head (10, C H W) -> (H W C, 10)."""
    maps = (CLASSES, problem.channels, problem.side, problem.side)
    *kernels, head = weights[::2]
    turned = [kernel.transpose(2, 3, 1, 0) for kernel in kernels]
    turned.append(head.reshape(maps).transpose(2, 3, 1, 0).reshape(-1, CLASSES))
    return _interleaved(turned, weights[1::2])


def from_nhwc(problem: Problem, weights: Sequence[Array]) -> list[Array]:
    """The inverse."""
    maps = (problem.side, problem.side, problem.channels, CLASSES)
    *kernels, head = weights[::2]
    turned = [kernel.transpose(3, 2, 0, 1) for kernel in kernels]
    turned.append(head.reshape(maps).transpose(3, 2, 0, 1).reshape(CLASSES, -1))
    return _interleaved(turned, weights[1::2])


def _interleaved(weights: Sequence[Array], biases: Sequence[Array]) -> list[Array]:
    return [part for pair in zip(weights, biases, strict=True) for part in pair]
