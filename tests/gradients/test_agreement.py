"""Agreement with the true gradients: the measures, and the callback that logs them."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from context_agg.cli.compose import compose_config
from context_agg.gradients.agreement import align, by_layer, network_alignment
from context_agg.networks.shortcuts import GradientShortcuts
from context_agg.runs.build import build
from tests.operands import CORRECT
from tests.tower import Tower

Array = NDArray[np.float64]


def test_alignment_by_hand() -> None:
    """(3, 4) and (4, 3) have cosine 24/25; signs do not count where the true gradient is 0."""
    a, b = torch.tensor([3.0, 4.0, 1.0]), torch.tensor([4.0, -3.0, 0.0])
    assert align(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])) == pytest.approx(
        (24 / 25, 1, 1)
    )
    cosine, ratio, signs = align(a, b)
    assert cosine == pytest.approx(0)
    assert signs == 0.5
    assert ratio == pytest.approx(math.sqrt(26) / 5)


def test_alignment_with_nothing() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    assert align(zero, one) == (0, 0, 0)
    assert all(math.isnan(value) for value in align(one, zero))


def test_tiny_gradients_are_compared_too() -> None:
    tiny = torch.full((3,), 1e-38)
    assert align(tiny, 2 * tiny) == pytest.approx((1, 0.5, 1))


def shifted(image: Array, dy: int, dx: int) -> Array:
    """image[p + (dy, dx)], 0 outside: by index, as in the definition."""
    height, width = image.shape
    result = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            if 0 <= i + dy < height and 0 <= j + dx < width:
                result[i, j] = image[i + dy, j + dx]
    return result


TAPS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]


def conv(image: Array, weight: Array, dilation: int) -> Array:
    result = np.zeros_like(image)
    for w, (i, j) in zip(weight.flat, TAPS, strict=True):
        result += w * shifted(image, dilation * i, dilation * j)
    return result


def numpy_grads(
    x: Array, first: Array, g: Array, second: Array, wrong: bool
) -> tuple[Array, Array]:
    """The layers' weight gradients of sum(g y); `wrong` uses dilation 1 in the backward pass."""
    h = 0.5 + conv(x, first, 2)  # the bias is 0.5
    d1, d2 = (1, 1) if wrong else (2, 3)
    grad_second = [(g * shifted(h, d2 * i, d2 * j)).sum() for i, j in TAPS]
    back = conv(g, second, -d2)
    grad_first = [(back * shifted(x, d1 * i, d1 * j)).sum() for i, j in TAPS]
    return np.array(grad_first), np.array(grad_second)


def test_the_cosines_of_broken_are_those_of_an_independent_computation() -> None:
    tower = Tower("broken").double()
    with torch.no_grad():
        tower.first.get_parameter("bias").fill_(0.5)
        tower.second.get_parameter("bias").fill_(0.0)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 1, 9, 8, generator=generator, dtype=torch.float64)
    target = torch.randn(1, 72, generator=generator, dtype=torch.float64)

    class Dot(nn.Module):
        def forward(self, y: Tensor, target: Tensor) -> Tensor:
            return (y * target).sum()

    alignments = network_alignment(tower, Dot(), x, target)
    weights = [conv.weight.detach().numpy()[0, 0] for conv in (tower.first, tower.second)]
    image, g = x.numpy()[0, 0], target.numpy().reshape(9, 8)
    wrong, true = (numpy_grads(image, weights[0], g, weights[1], flag) for flag in (True, False))
    for name, ours, exact in zip(("first", "second"), wrong, true, strict=True):
        cosine = ours @ exact / np.linalg.norm(ours) / np.linalg.norm(exact)
        ratio = np.linalg.norm(ours) / np.linalg.norm(exact)
        signs = (np.sign(ours) == np.sign(exact)).mean()
        assert alignments[f"{name}.weight"] == pytest.approx((cosine, ratio, signs))
        assert cosine < 0.9


@pytest.mark.parametrize("backprop", CORRECT)
def test_the_cosines_of_a_right_rule_are_1(backprop: str) -> None:
    torch.manual_seed(0)
    cfg = compose_config(f"backprop={backprop}", "model.channels=2", "model.init=kaiming")
    data, learner = build(cfg)
    learner.double()
    x, target = data.train.batch(slice(4), torch.float64)
    for alignment in network_alignment(learner.network, learner.loss, x, target).values():
        assert alignment == pytest.approx((1, 1, 1), abs=1e-9)


def test_shortcuts_are_no_part_of_the_true_gradient() -> None:
    cfg = compose_config("model=post", "model.shortcut.scale=0.8")
    data, learner = build(cfg)
    learner.double()
    x, target = data.train.batch(slice(4), torch.float64)
    alignments = network_alignment(learner.network, learner.loss, x, target)
    assert alignments["context.layers.0.weight"].cosine < 0.99
    assert alignments["context.layers.7.weight"].cosine == pytest.approx(1)
    (shortcut,) = (m for m in learner.network.modules() if isinstance(m, GradientShortcuts))
    assert shortcut.scale == 0.8  # unchanged


class Noisy(nn.Module):
    """Draws random numbers in its forward pass, and counts in a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(72)
        self.tower, self.dropout = Tower("auto"), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.dropout(self.tower(x)))
        return y


def test_dropout_is_no_disagreement_and_nothing_is_left_behind() -> None:
    network, x, target = Noisy(), torch.randn(8, 1, 9, 8), torch.randn(8, 72)
    state, buffers = torch.get_rng_state(), [b.clone() for b in network.buffers()]
    alignments = network_alignment(network, nn.MSELoss(), x, target)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(map(torch.equal, network.buffers(), buffers))
    assert alignments["tower.first.weight"] == pytest.approx((1, 1, 1), abs=1e-6)


# in training


def test_by_layer_joins_weight_and_bias() -> None:
    grads = {"a.weight": torch.ones(2, 1), "a.bias": torch.zeros(1), "b.c.weight": torch.ones(1)}
    joined = by_layer(grads)
    assert {name: grad.tolist() for name, grad in joined.items()} == {
        "a": [1.0, 1.0, 0.0],
        "b.c": [1.0],
    }
