"""The losses against values by hand and other formulas."""

import math

import pytest
import torch

from context_agg.training.losses import BinaryCrossEntropyOnSoftmax


def test_binary_cross_entropy_on_softmax_by_hand() -> None:
    """p = (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2), with targets 0 and 1."""
    logits = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 2.0]]).log()
    first = -math.log(1 / 2) - 2 * math.log(3 / 4)
    second = -math.log(1 / 4) - math.log(3 / 4) - math.log(1 / 2)
    loss = BinaryCrossEntropyOnSoftmax()(logits, torch.tensor([0, 1]))
    assert float(loss) == pytest.approx((first + second) / 2)


def test_binary_cross_entropy_on_softmax_by_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda z: BinaryCrossEntropyOnSoftmax()(z, target), logits)


def test_binary_cross_entropy_on_softmax_far_from_the_middle() -> None:
    """p of the wrong class is 1 to eight digits: -log p and -log(1 - p) are 20 each."""
    logits = torch.tensor([[20.0, 0.0, -20.0]], requires_grad=True)
    loss = BinaryCrossEntropyOnSoftmax()(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(40)
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([2, -2, -4e-9], abs=1e-7)
