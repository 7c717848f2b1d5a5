"""Questions that people have asked of torch.autograd.gradcheck, and what they would be told here.

The operators are written anew after what the reports describe.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function, gradcheck
from torch.autograd.gradcheck import GradcheckError

from context_agg.gradients import assert_backward, check_op


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


class Wrong(Function):
    """A gradient of the right shape that is far off at one entry."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        grad = g * x.cos()
        grad[1, 2] += 0.3 * g[0, 0] + 0.1 * g[1, 1]
        return grad


def test_pytorch_2710_the_reason_and_the_size_of_the_error_come_back() -> None:
    """gradcheck said False; its user asked for the reason for the failure and its magnitude."""
    report = check_op(Wrong, draw(2, 3))
    assert not report.right
    (tensor,) = report.tensors
    assert tensor.difference > 0.01
    assert tensor.relative == pytest.approx(tensor.difference / report_scale())
    assert "none of the known slips; it is wrong at 1 of 6 entries" in tensor.diagnosis
    assert "most at [1, 2]" in tensor.diagnosis


def report_scale() -> Any:
    """The largest entry of the right gradient, with the same grad_output."""
    x = draw(2, 3).double()
    g = torch.randn(2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (g * x.cos()).abs().max().item()


class SumInAnotherOrder(Function):
    """Adds a rounding error that differs from call to call, as an atomic sum on a GPU does."""

    calls = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 3

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        SumInAnotherOrder.calls += 1
        return g * 3 * (1 + 1e-15 * (SumInAnotherOrder.calls % 3))


def test_pytorch_2710_rounding_that_varies_is_no_mistake() -> None:
    """The same user asked whether equality to zero is not too strict for two backward passes."""
    report = check_op(SumInAnotherOrder, draw(4))
    assert report.right
    assert "between two backward passes: sums in another order" in str(report)
    with pytest.raises(GradcheckError, match="not reentrant"):
        gradcheck(SumInAnotherOrder.apply, draw(4).double().requires_grad_())


class ISRLU(Function):
    """The activation x / sqrt(1 + alpha x^2) where x is negative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor) -> Any:
        ctx.root = torch.rsqrt(1 + alpha * x.clamp(max=0) ** 2)
        return x * ctx.root

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return ctx.root**3, None


def test_pytorch_4355_the_backward_forgot_grad_output() -> None:
    """The answer was an IndexError: it lacked a gradient for a second input, too."""
    report = check_op(ISRLU, (draw(20, 20), draw(20, 20).abs()))
    assert [t.name for t in report.tensors if not t.exact] == ["grad_x", "grad_alpha"]
    assert "grad_x does not use grad_output; it is that of grad_output = 1 at y" in str(report)
    assert "grad_alpha is missing: the backward returns None for it" in str(report)


def test_pytorch_121842_and_194425_inputs_that_depend_on_one_another() -> None:
    """A right backward, and gradcheck finds 3 numerically and 6 analytically."""
    x = torch.ones(1, dtype=torch.float64, requires_grad=True)
    y = 3 * x
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(torch.dot, (x, y))
    report = check_op(torch.dot, (x, y))
    assert report.right
    assert "input 1 was computed from input 0; each is differentiated with the other" in str(report)


class Wavelet(Function):
    """A step of a wavelet transform: two filters at every other sample, and its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, filters: Tensor) -> Tensor:
        ctx.save_for_backward(filters)
        return F.conv1d(x, filters[:, None], stride=2, padding=filters.shape[-1] - 2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (filters,) = ctx.saved_tensors
        pad = filters.shape[-1] - 2
        return F.conv_transpose1d(g, filters[:, None], stride=2, padding=pad), None


def test_torch_dwt_2_float32_made_gradcheck_reject_a_right_backward() -> None:
    """The user wondered whether the backward was wrong; float32 is what was."""
    x, filters = draw(1, 1, 12), draw(2, 4)
    with pytest.warns(UserWarning, match="not a double"), pytest.raises(GradcheckError):
        gradcheck(Wavelet.apply, (x.clone().requires_grad_(), filters))
    assert_backward(lambda x: Wavelet.apply(x, filters.to(x)), x)  # the filters are constants
    report = check_op(Wavelet, (x, filters))
    assert report.diagnoses == [
        "grad_filters is missing: the backward returns None for it, or the forward detaches it"
    ]


def sample(x: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """A deformable convolution of kernel 1: pixels read between the grid, then weighted."""
    h, w = x.shape[2:]
    grid = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    y, across = (g + offset[:, i] for i, g in enumerate(grid))
    places = torch.stack([2 * across / (w - 1) - 1, 2 * y / (h - 1) - 1], -1)
    read = F.grid_sample(x, places.to(x), align_corners=True)
    return torch.einsum("kc,nchw->nkhw", weight, read)


def test_dcnv2_13_a_jacobian_mismatch_that_was_only_float32() -> None:
    """gradcheck in float32 blamed the offsets; the maintainer's answer was to use doubles."""
    x, offset, weight = draw(1, 2, 4, 5), 0.4 * draw(1, 2, 4, 5).clamp(-1, 1), draw(3, 2)
    offset += 0.05  # not exactly on the grid, where reading between pixels has a kink
    given = (x.clone(), offset.clone().requires_grad_(), weight.clone())
    with pytest.warns(UserWarning, match="not a double"), pytest.raises(GradcheckError):
        gradcheck(sample, given, eps=1e-3, atol=1e-4, rtol=1e-2)
    report = check_op(sample, (x, offset, weight))
    assert report.right, report
    errors = [tensor.float32 for tensor in report.tensors]
    assert all(error is not None and error < 1e-5 for error in errors)


def test_dcnv2_13_on_the_grid_the_kinks_are_left_out() -> None:
    report = check_op(sample, (draw(1, 2, 4, 5), torch.zeros(1, 2, 4, 5), draw(3, 2)))
    assert "40 of 40 entries of offset are left out: there is a kink" in str(report)
    assert "grad_offset cannot be settled: give a reference, or other inputs" in str(report)
    assert check_op(sample, (draw(1, 2, 4, 5), torch.zeros(1, 2, 4, 5), draw(3, 2)), sample).right


def test_tmol_135_the_message_says_how_many_entries_fail_where_and_by_how_much() -> None:
    """Its authors took gradcheck into their project to get a table of the failures."""
    with pytest.raises(AssertionError) as raised:
        assert_backward(Wrong, draw(2, 3))
    text = str(raised.value)
    for words in ("largest difference", "cosine", "wrong at 1 of 6 entries", "Wrong is WRONG"):
        assert words in text
