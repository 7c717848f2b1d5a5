"""What every peer is held against before it is timed: PyTorch in float64."""

import numpy as np
import torch

from benchmarks.peers.torch_loop import gradients, users_network
from benchmarks.problem import Array, Gradients, Problem

TOLERANCE = 1e-4  # of the norm of a tensor; float32 makes 1e-6, and a ReLU near zero can flip


def reference(problem: Problem) -> Gradients:
    """The loss of the first batch and its gradients, in float64."""
    x = torch.from_numpy(problem.images()[: problem.batch])[:, None].float() / 255
    target = torch.from_numpy(problem.targets()[: problem.batch])
    return gradients(users_network(problem).double(), x.double(), target)


def error(found: Gradients, expected: Gradients) -> float:
    """The largest relative error of the loss and of the gradients, each by its norm."""
    pairs = zip(found.grads, expected.grads, strict=True)
    parts = [distance(*pair) for pair in pairs]
    return max(abs(found.loss / expected.loss - 1), *parts)


def distance(found: Array, expected: Array) -> float:
    """The norm of the difference, relative to what is expected."""
    assert found.shape == expected.shape
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def check(name: str, wrong_by: float) -> float:
    """Returns a relative error that float32 explains.

    Raises:
        ArithmeticError: for a larger one, or one that is not finite.
    """
    if not wrong_by < TOLERANCE:
        raise ArithmeticError(f"{name} is wrong by {wrong_by:.1e}; it is not timed")
    return wrong_by
