"""What every timed thing is held against first: PyTorch in float64.

A gradient jumps where a ReLU's input passes zero. With millions of inputs some lie within a
rounding of it, and float32 may take the other side. So the biases are chosen such that none does,
and what remains is rounding.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers.torch_loop import gradients, users_network
from benchmarks.problem import Array, Gradients, Problem

TOLERANCE = 5e-5  # of the norm of a tensor; float32 makes 1e-6, and 2e-5 in a sum that cancels
NEAR = 1000  # about so many inputs around zero, among which a gap is looked for


def weights(problem: Problem) -> list[Array]:
    """The problem's weights, with biases that keep every ReLU of the first batch off zero.

    With the biases as they were a map can also be zero all over, and its gradients with it.
    """
    found = problem.weights()
    x, _ = _first_batch(problem)
    for number, conv in enumerate(problem.convolutions[:-1]):
        weight, bias = (torch.from_numpy(part) for part in found[2 * number : 2 * number + 2])
        y = F.conv2d(x, weight.double(), None, padding="same", dilation=conv.dilation)
        bias.copy_(bias_off_zero(y))
        x = F.relu(y + bias.double()[:, None, None])
    return found


def bias_off_zero(y: Tensor) -> Tensor:
    """A bias with which a third of each map is negative, and no value is near zero.

    Zero then lies in the widest gap between values near it.

    Shape: y (N, K, H, W) -> (K,).
    """
    maps = y.transpose(0, 1).flatten(1)  # (K, N H W)
    bias = -maps.kthvalue(1 + maps.shape[1] // 3, dim=1).values
    reach = maps.std(1) * min(1, NEAR / maps.shape[1])
    shifts = []
    for values, end in zip(maps + bias[:, None], reach, strict=True):
        near = torch.cat([values[values.abs() < end], torch.stack([-end, end])]).sort().values
        widest = int(near.diff().argmax())
        shifts.append(near[widest : widest + 2].mean())
    return bias - torch.stack(shifts)


def reference(problem: Problem, weights: list[Array]) -> Gradients:
    """The loss of the first batch and its gradients, in float64."""
    return gradients(users_network(problem, weights).double(), *_first_batch(problem))


def _first_batch(problem: Problem) -> tuple[Tensor, Tensor]:
    """The images are those of float32, whose rounding is not a peer's fault."""
    x = torch.from_numpy(problem.images()[: problem.batch])[:, None].float() / 255
    return x.double(), torch.from_numpy(problem.targets()[: problem.batch])


def error(found: Gradients, expected: Gradients) -> float:
    """The largest relative error of the loss and of the gradients, each by its norm."""
    pairs = zip(found.grads, expected.grads, strict=True)
    return max(abs(found.loss / expected.loss - 1), *(distance(*pair) for pair in pairs))


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
