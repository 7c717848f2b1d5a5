"""The optimizers against torch's, and against their formulas."""

from typing import Any

import pytest
import torch
from torch import nn

from context_agg.training.optimizers import DraftAdam, caffe_sgd


def test_draft_adam_forgets_the_power_t() -> None:
    """Compares with the formula in float64, and the first step with torch's Adam."""
    torch.manual_seed(0)
    grads = torch.randn(5, 4, dtype=torch.float64)
    draft, adam = (nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2))
    optimizer, right = DraftAdam([draft], lr=0.1), torch.optim.Adam([adam], lr=0.1)
    mean = square = torch.zeros(4, dtype=torch.float64)
    expected = torch.ones(4, dtype=torch.float64)
    for step, grad in enumerate(grads):
        draft.grad, adam.grad = grad.clone(), grad.clone()
        optimizer.step()
        right.step()
        mean = 0.9 * mean + 0.1 * grad
        square = 0.999 * square + 0.001 * grad**2
        expected = expected - 0.1 * (mean / 0.1) / ((square / 0.001).sqrt() + 1e-8)
        torch.testing.assert_close(draft.detach(), expected, rtol=1e-12, atol=1e-12)
        if step == 0:
            torch.testing.assert_close(draft, adam, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(draft, adam)


@pytest.mark.parametrize("betas", [[0.9, "abc"], [0.9], [1, 0.999], [0.9, 1.0], [-0.1, 0.9], 0.9])
def test_draft_adam_refuses_betas_that_it_cannot_divide_by(betas: Any) -> None:
    with pytest.raises(ValueError, match=r"betas=.* must be two numbers from 0 to below 1"):
        DraftAdam([nn.Parameter(torch.ones(1))], lr=0.1, betas=betas)


def test_caffe_sgd_by_its_formula() -> None:
    """v = 0.9 v + rate (gradient + decay w), w = w - v; biases have twice the rate and no decay."""
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3).double()
    assert conv.bias is not None
    optimizer = caffe_sgd(conv.parameters(), lr=0.1, momentum=0.9, weight_decay=0.5)
    weight, bias = conv.weight.detach().clone(), conv.bias.detach().clone()
    step_weight, step_bias = torch.zeros_like(weight), torch.zeros_like(bias)
    for _ in range(4):
        conv.weight.grad, conv.bias.grad = torch.randn_like(weight), torch.randn_like(bias)
        step_weight = 0.9 * step_weight + 0.1 * (conv.weight.grad + 0.5 * weight)
        step_bias = 0.9 * step_bias + 0.2 * conv.bias.grad
        weight, bias = weight - step_weight, bias - step_bias
        optimizer.step()
        torch.testing.assert_close(conv.weight.detach(), weight, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(conv.bias.detach(), bias, rtol=1e-12, atol=1e-12)


def test_caffe_sgd_is_sgd_where_biases_are_like_weights() -> None:
    torch.manual_seed(0)
    ours, theirs = (nn.Linear(3, 2).double() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    optimizers = (
        caffe_sgd(ours.parameters(), 0.1, 0.9, weight_decay=0, bias_lr=1),
        torch.optim.SGD(theirs.parameters(), 0.1, 0.9),
    )
    x = torch.randn(5, 3, dtype=torch.float64)
    for _ in range(3):
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_a_schedule_keeps_the_biases_at_twice_the_rate() -> None:
    conv = nn.Conv2d(2, 3, 3)
    optimizer = caffe_sgd(conv.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.1])


def test_caffe_sgd_takes_weights_alone_and_biases_alone() -> None:
    """Parts of a network can be frozen, and a layer can be without a bias."""
    weight, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    (only,) = caffe_sgd([weight], 0.1).param_groups
    assert (only["lr"], only["weight_decay"]) == (0.1, 0.0005)
    (only,) = caffe_sgd([bias], 0.1).param_groups
    assert (only["lr"], only["weight_decay"]) == (0.2, 0)
    with pytest.raises(ValueError, match="bias_lr=-1 must be a finite number, 0 or more"):
        caffe_sgd([weight], 0.1, bias_lr=-1)
