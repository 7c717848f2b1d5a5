"""The compiled kernels against PyTorch in float64, and their derivatives of every order."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from context_agg.ops import get_conv_op
from context_agg.ops.native import kernels, operators
from context_agg.ops.native.rule import conv, conv_backward
from tests.operands import operands

# Every way to fill vectors occurs: 20 = two vectors of 8 and a half one, 11 odd, 1 to 1 by pixels.
MAPS = [(3, 2), (2, 3), (11, 20), (1, 1)]
ALL = (True, True, True)


def right(x: Tensor, w: Tensor, b: Tensor | None, dilation: int, relu: bool = False) -> Tensor:
    y = F.conv2d(x, w, b, padding=dilation * (w.shape[-1] // 2), dilation=dilation)
    return y.relu() if relu else y


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 5),
    maps=st.sampled_from(MAPS),
    size=st.tuples(st.integers(1, 33), st.integers(1, 33)),
    dilation=st.integers(1, 40),
    relu=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_forward_and_gradients_are_those_of_pytorch(
    n: int, maps: tuple[int, int], size: tuple[int, int], dilation: int, relu: bool, seed: int
) -> None:
    inputs = operands(n, *maps, 3, *size, seed=seed)
    y, expected = get_conv_op("manual")(*inputs, dilation, relu), right(*inputs, dilation, relu)
    assert_close(y, expected)
    grad_output = torch.randn_like(y)
    grads = torch.autograd.grad(y, inputs, grad_output)
    for grad, true in zip(grads, torch.autograd.grad(expected, inputs, grad_output), strict=True):
        assert_close(grad, true)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    maps=st.sampled_from(MAPS),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    dilation=st.integers(1, 25),
    seed=st.integers(0, 2**31),
)
def test_corr_is_the_adjoint_of_conv_in_x_and_in_weight(
    maps: tuple[int, int], size: tuple[int, int], dilation: int, seed: int
) -> None:
    x, weight, _ = (t.detach() for t in operands(2, *maps, 3, *size, seed=seed))
    y = operators.conv(x, weight, None, dilation, False)
    grad_output = torch.randn_like(y)
    grad_x, grad_weight, _ = operators.conv_backward(grad_output, x, weight, None, dilation, ALL)
    scale = y.norm() * grad_output.norm()
    assert ((y * grad_output).sum() - (x * grad_x).sum()).abs() <= 1e-12 * scale
    assert ((y * grad_output).sum() - (weight * grad_weight).sum()).abs() <= 1e-12 * scale


@pytest.mark.parametrize("maps", [(8, 8), (16, 16)])
@pytest.mark.parametrize("dilation", [1, 4, 16])
def test_float32_is_within_rounding_of_float64(maps: tuple[int, int], dilation: int) -> None:
    inputs = operands(3, *maps, 3, 29, 27, dtype=torch.float32)
    y = get_conv_op("manual")(*inputs, dilation)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    expected = right(*exact, dilation)
    grad_output = torch.randn_like(y)
    assert_close(y.double(), expected, rtol=1e-5, atol=1e-4)
    grads = torch.autograd.grad(y, inputs, grad_output)
    trues = torch.autograd.grad(expected, exact, grad_output.double())
    for grad, true in zip(grads, trues, strict=True):
        assert (grad - true).abs().max() <= 1e-5 * true.abs().max()


@pytest.mark.parametrize(
    ("side", "dilation"), [(3, 1), (3, 2), (3, 5), (3, 16), (1, 1), (5, 3), (7, 2)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_layer_of_one_map_fills_rows_of_any_width(
    dtype: torch.dtype, side: int, dilation: int
) -> None:
    for width in range(1, 70):
        inputs = operands(2, 1, 1, side, 7, width, dtype=dtype)
        y = get_conv_op("manual")(*inputs, dilation, True)
        exact = [t.detach().double().requires_grad_() for t in inputs]
        expected = right(exact[0], exact[1], exact[2], dilation, relu=True)
        grad_output = torch.randn_like(y)
        grads = torch.autograd.grad(y, inputs, grad_output)
        trues = torch.autograd.grad(expected, exact, grad_output.double())
        tolerance = 1e-5 if dtype is torch.float32 else 1e-13
        for ours, true in zip((y, *grads), (expected, *trues), strict=True):
            assert (ours - true).abs().max() <= tolerance * max(1.0, true.abs().max().item())


def test_derivatives_of_all_kinds_are_right() -> None:
    inputs: Any = (*operands(2, 3, 2, 3, 5, 4), 2, True)
    op = get_conv_op("manual")
    options = {"check_batched_grad": True, "check_forward_ad": True}
    assert gradcheck(op, inputs, check_batched_forward_grad=True, **options)
    assert gradgradcheck(op, inputs, check_batched_grad=True, check_fwd_over_rev=True)


def test_a_third_derivative_is_that_of_pytorch() -> None:
    def third(op: Any) -> Tensor:
        x, weight, bias = operands()
        y = op(x, weight, bias, 2, True).sin().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        (second,) = torch.autograd.grad(first.cos().sum(), weight, create_graph=True)
        found: Tensor = torch.autograd.grad(second.exp().sum(), x)[0]
        return found

    assert_close(third(get_conv_op("manual")), third(right))


@pytest.mark.parametrize("outer", [torch.func.jacfwd, torch.func.jacrev])
@pytest.mark.parametrize("inner", [torch.func.jacfwd, torch.func.jacrev])
def test_hessians_are_those_of_pytorch(outer: Any, inner: Any) -> None:
    x, weight, bias = (t.detach() for t in operands(1, h=4, w=3))

    def hessian(op: Any) -> Tensor:
        found: Tensor = outer(inner(lambda w: op(x, w, bias, 2, True).sin().sum()))(weight)
        return found

    assert_close(hessian(get_conv_op("manual")), hessian(right))


@pytest.mark.parametrize(
    "needs", [(True, False, False), (False, True, False), (False, False, True)]
)
def test_corr_has_derivatives_for_each_of_its_outputs_alone(needs: tuple[bool, bool, bool]) -> None:
    x, weight, bias = operands(1, h=4, w=3)
    y = get_conv_op("manual")(x, weight, bias, 2, True).detach()
    grad_output = torch.randn_like(y).requires_grad_()

    def wanted(grad_output: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return conv_backward(grad_output, x, weight, y, 2, needs)[needs.index(True)]

    assert gradcheck(wanted, (grad_output, x, weight), check_forward_ad=True)


def test_the_operators_are_registered_as_pytorch_wants_them() -> None:
    x, weight, bias = (t.detach() for t in operands())
    y = operators.conv(x, weight, bias, 2, True)
    for arguments in ((x, weight, bias, 2, True), (x, weight, None, 9, False)):
        torch.library.opcheck(operators.conv, arguments)
    for mask, needs in ((y, ALL), (None, (True, False, True))):
        torch.library.opcheck(
            operators.conv_backward, (torch.randn_like(y), x, weight, mask, 2, needs)
        )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("maps", MAPS)
def test_what_is_not_finite_reaches_only_what_sees_it(maps: tuple[int, int], bad: float) -> None:
    x, weight, bias = (t.detach() for t in operands(3, *maps, 3, 9, 8))
    x[1, :, 4, 3] = bad
    y = operators.conv(x, weight, bias, 3, False)
    seen = torch.zeros(3, 9, 8, dtype=torch.bool)
    seen[1, 1:8:3, 0:7:3] = True
    assert torch.equal(~y.isfinite().all(1), seen)
    grads = operators.conv_backward(x.new_ones(y.shape), x * 0 + 1, weight, y * 0 + 1, 3, ALL)
    grad_output = torch.ones_like(y)
    grad_output[1, :, 4, 3] = bad
    grad_x, _, grad_bias = operators.conv_backward(
        grad_output, x.nan_to_num(), weight, None, 3, ALL
    )
    assert torch.equal(~grad_x.isfinite().all(1), seen)
    assert not grad_bias.isfinite().any()
    assert grads[0].isfinite().all()  # a mask that is NaN lets nothing pass


def test_relu_keeps_nan() -> None:
    x, weight, bias = (t.detach() for t in operands())
    x[0, 0, 3, 2] = float("nan")
    assert operators.conv(x, weight, bias, 1, True)[0, :, 3, 2].isnan().all()


@pytest.mark.parametrize("maps", [1, 16])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_results_repeat_bit_by_bit_on_any_number_of_threads(n: int, maps: int) -> None:
    inputs = operands(n, maps, maps, 3, 19, 17, dtype=torch.float32)
    y = get_conv_op("manual")(*inputs, 2, True)
    expected = [y, *torch.autograd.grad(y.square().sum(), inputs)]
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            y = get_conv_op("manual")(*inputs, 2, True)
            for a, b in zip(
                [y, *torch.autograd.grad(y.square().sum(), inputs)], expected, strict=True
            ):
                assert torch.equal(a, b)
    finally:
        torch.set_num_threads(1)


def test_a_dilation_beyond_all_numbers_leaves_the_middle_tap() -> None:
    x, weight, bias = (t.detach() for t in operands())
    expected = torch.einsum("nchw,kc->nkhw", x, weight[:, :, 1, 1]) + bias[:, None, None]
    assert_close(operators.conv(x, weight, bias, 2**62, False), expected)


def test_the_choice_depends_on_device_dtype_and_maps_alone() -> None:
    cpu = torch.device("cpu")
    assert kernels.serve(cpu, torch.float32, 128)
    assert kernels.serve(cpu, torch.float64, 1)
    assert not kernels.serve(cpu, torch.float32, 129)
    assert not kernels.serve(cpu, torch.bfloat16, 16)
    assert not kernels.serve(torch.device("cuda"), torch.float32, 16)


def test_conv_is_linear_in_its_weight() -> None:
    x, weight, bias = operands()
    assert_close(conv(x, 3 * weight, bias, 2) - bias[:, None, None], 3 * conv(x, weight, None, 2))
