"""Mistakes in one step inside a function are named, however the function is called."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.grad import conv2d_input

from context_agg.gradients import check_op


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Normalised(Function):
    """A layer norm whose backward takes the spread to be a constant."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        spread = centred.square().mean(-1, keepdim=True).add(1e-5).sqrt()
        ctx.save_for_backward(centred / spread, weight, spread)
        return centred / spread * weight

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        normal, weight, spread = ctx.saved_tensors
        grad = g * weight
        return (grad - grad.mean(-1, keepdim=True)) / spread, (g * normal).sum(0)


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(drawn(6, seed=1))

    def forward(self, x: Tensor) -> Tensor:
        y = Normalised.apply(x, self.weight)
        assert isinstance(y, Tensor)
        return y


def fused(x: Tensor, weight: Tensor) -> Tensor:
    return F.layer_norm(x, (6,), weight)


@pytest.mark.parametrize("reference", [None, fused])
@pytest.mark.parametrize("op", [Normalised, lambda x, weight: Normalised.apply(x, weight), Norm()])
def test_the_steps_of_a_function_are_seen_through_what_is_around_it(
    op: Any, reference: Callable[..., Tensor] | None
) -> None:
    """Also beside a reference of a single call, which has no such step."""
    inputs = [drawn(5, 6)] if isinstance(op, Norm) else [drawn(5, 6), drawn(6, seed=1)]
    (said,) = check_op(op, inputs, reference).diagnoses
    assert said.startswith("grad_x lacks a part: it is right if the result of `square`")


def test_an_autograd_function_has_its_own_backward_again_afterwards() -> None:
    check_op(Normalised, [drawn(5, 6), drawn(6, seed=1)])
    x = drawn(5, 6).requires_grad_()
    y = Normalised.apply(x, torch.ones(6))
    assert type(y.grad_fn).__name__ == "NormalisedBackward"


def gradient_of_the_kernel(
    x: Tensor, g: Tensor, stride: tuple[int, int], dilation: tuple[int, int]
) -> Tensor:
    """That of a convolution with a 3x3 kernel and a padding of 2, tap by tap.

    There are zeros enough on the right for windows that are wrong.
    """
    padded, (height, width) = F.pad(x, (2, 20, 2, 20)), g.shape[2:]
    taps = []
    for i in range(3):
        for j in range(3):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + stride[0] * (height - 1) + 1, stride[0])
            columns = slice(left, left + stride[1] * (width - 1) + 1, stride[1])
            taps.append(torch.einsum("nkhw,nchw->kc", g, padded[:, :, rows, columns]))
    return torch.stack(taps, -1).reshape(*taps[0].shape, 3, 3)


@pytest.mark.parametrize(
    ("stride", "dilation", "taken", "says"),
    [
        ((1, 1), (2, 3), ((1, 1), (2, 1)), "dilation (2, 1), from the corner of the window"),
        ((1, 1), (1, 2), ((1, 1), (2, 1)), "dilation (2, 1), from the corner of the window"),
        ((2, 2), (1, 1), ((2, 1), (1, 1)), "stride (2, 1)"),
        ((1, 2), (1, 1), ((2, 1), (1, 1)), "stride (2, 1)"),
        ((2, 2), (2, 2), ((1, 1), (1, 1)), "dilation 1, from the corner of the window, and of s"),
        ((2, 1), (1, 2), ((2, 1), (1, 2)), ""),
    ],
)
def test_what_is_forgotten_along_one_axis_of_a_convolution(
    stride: tuple[int, int], dilation: tuple[int, int], taken: Any, says: str
) -> None:
    class Convolution(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            ctx.save_for_backward(x, weight)
            return F.conv2d(x, weight, None, stride, 2, dilation)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            x, weight = ctx.saved_tensors
            grad_x = conv2d_input(x.shape, weight, g, stride, 2, dilation)
            return grad_x, gradient_of_the_kernel(x, g, *taken)

    found = check_op(Convolution, [drawn(2, 2, 7, 8), drawn(3, 2, 3, 3, seed=1)]).diagnoses
    assert [words[: len(f"grad_weight is that of {says}")] for words in found] == (
        [f"grad_weight is that of {says}"] if says else []
    )


def test_zeros_without_a_pattern_are_counted() -> None:
    class Leaky(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            y: Tensor = F.leaky_relu(x, 0.1)
            return y

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return torch.where(x > 0, g, 0)

    x = drawn(8, 9)
    (said,) = check_op(Leaky, x).diagnoses
    assert said == f"grad_x is zero at {int((x < 0).sum())} of 72 entries and right elsewhere"


@pytest.mark.parametrize("before", [[], [nn.Linear(3, 1)]])
@pytest.mark.parametrize("with_reference", [False, True])
def test_a_layer_whose_output_is_always_zero_is_right(
    before: list[nn.Module], with_reference: bool
) -> None:
    module = nn.Sequential(*before, nn.LayerNorm(1)).requires_grad_()
    report = check_op(module, drawn(4, 3 if before else 1), module if with_reference else None)
    assert report.right, str(report)


def test_a_gradient_that_is_infinite_in_float64_too_is_not_put_down_to_float32() -> None:
    (remark,) = check_op(torch.sqrt, torch.tensor([0.0, 1.0, 2.0])).remarks
    assert remark.startswith("1 of 3 entries of input 0 are left out")


def test_a_class_of_modules_is_refused() -> None:
    with pytest.raises(ValueError, match=r"op is the class LayerNorm: .* such as LayerNorm\(...\)"):
        check_op(nn.LayerNorm, drawn(3))
    with pytest.raises(ValueError, match="reference is the class LayerNorm"):
        check_op(torch.exp, drawn(3), nn.LayerNorm)
