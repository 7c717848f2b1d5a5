"""The compiled kernels are fast: bounds that a busy machine does not break.

What is compared takes turns, and the best of many turns counts.
"""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from context_agg.ops import get_conv_op

pytestmark = pytest.mark.slow


def best_seconds(*functions: Callable[[], object], rounds: int = 60) -> list[float]:
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for number, function in enumerate(functions):
            start = time.perf_counter()
            function()
            best[number] = min(best[number], time.perf_counter() - start)
    return best


def layer(name: str, dilation: int) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """y, its inputs and a gradient of a layer of the network at C = 8, 32 images of 28x28."""
    torch.manual_seed(0)
    x, weight, bias = torch.randn(32, 8, 28, 28), torch.randn(8, 8, 3, 3), torch.randn(8)
    inputs = tuple(t.requires_grad_() for t in (x, weight, bias))
    y = get_conv_op(name)(*inputs, dilation, True)
    return y, inputs, torch.randn(y.shape)


def backward(name: str, dilation: int) -> Callable[[], object]:
    y, inputs, grad_output = layer(name, dilation)
    return lambda: torch.autograd.grad(y, inputs, grad_output, retain_graph=True)


@pytest.mark.parametrize("dilation", [1, 4, 16])
def test_manual_is_faster_than_auto_at_8_maps(dilation: int) -> None:
    def both(name: str) -> Callable[[], object]:
        def step() -> None:
            y, inputs, grad_output = operands[name]
            y = get_conv_op(name)(*inputs, dilation, True)
            torch.autograd.grad(y, inputs, grad_output)

        return step

    operands = {name: layer(name, dilation) for name in ("manual", "auto")}
    manual, auto = best_seconds(both("manual"), both("auto"))
    assert auto > 1.2 * manual


def test_a_large_dilation_costs_no_more() -> None:
    narrow, wide = best_seconds(backward("manual", 1), backward("manual", 16))
    assert wide < 1.2 * narrow
