"""The layers of a network one by one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from context_agg.gradients.layers import layer_cases, layer_tensors, true_conv
from context_agg.networks.context import ContextModule, DilatedConv2d
from context_agg.ops import CONV_OPS
from context_agg.ops.mistakes import MISTAKES
from tests.operands import CORRECT, operands
from tests.tower import Tower


def test_layer_cases_hold_what_the_layers_see() -> None:
    tower = Tower("broken").double()
    x = torch.randn(2, 1, 9, 8, dtype=torch.float64)
    first, second = layer_cases(tower, nn.MSELoss(), x, torch.zeros(2, 72, dtype=torch.float64))
    assert (first.name, first.dilation, second.name, second.dilation) == ("first", 2, "second", 3)
    torch.testing.assert_close(first.x, x)
    torch.testing.assert_close(second.x, tower.first(x).detach())
    y = tower(x).reshape(2, 1, 9, 8)
    torch.testing.assert_close(second.grad_output, 2 * y.detach() / y.numel())  # MSE's gradient
    assert not tower.first._forward_hooks
    assert tower.first.backprop == "broken"


def test_layers_that_run_again_in_the_backward_pass_are_one_case_each() -> None:
    x, target = torch.randn(2, 2, 9, 8), torch.randn(2, 144)
    kept, again = (
        layer_cases(
            nn.Sequential(ContextModule.basic(2, recompute=recompute), nn.Flatten()),
            nn.MSELoss(),
            x,
            target,
        )
        for recompute in (None, 3)
    )
    assert len(again) == 8
    for case, expected in zip(again, kept, strict=True):
        torch.testing.assert_close(case.x, expected.x, rtol=0, atol=0)
        torch.testing.assert_close(case.grad_output, expected.grad_output)


@pytest.mark.parametrize("rule", [*CORRECT, *MISTAKES])
def test_layer_tensors_are_those_of_autograd_or_not(rule: str) -> None:
    x, weight, bias = operands(c=2, k=3, h=7, w=7)
    y = true_conv(x, weight, bias, 2, relu=True)
    torch.testing.assert_close(y, F.conv2d(x, weight, bias, padding=2, dilation=2).relu())
    tower = nn.Sequential(DilatedConv2d(2, 3, 3, 2, relu=True), nn.Flatten()).double()
    (case,) = layer_cases(tower, nn.MSELoss(), x, torch.zeros(2, 147, dtype=torch.float64))
    true, ours = (layer_tensors(op, case, torch.float64) for op in (true_conv, CONV_OPS[rule]))
    equal = {name: torch.allclose(ours[name], true[name], rtol=1e-9, atol=0) for name in true}
    assert equal["y"]
    assert all(equal.values()) == (rule in CORRECT)
