"""The operators against independent answers, in float64 unless a test says otherwise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torch.nn.grad as conv_grads
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from context_agg.ops import CONV_OPS, get_conv_op
from tests.operands import CORRECT, operands

SIDES = [1, 3, 5]
DILATIONS = [1, 2, 3, 4, 8, 16]


def sparse_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool = False
) -> Tensor:
    """The same result by another route: a large kernel with zeros between the taps."""
    k, c, side, _ = weight.shape
    large = weight.new_zeros(k, c, dilation * (side - 1) + 1, dilation * (side - 1) + 1)
    large[:, :, ::dilation, ::dilation] = weight
    y = F.conv2d(x, large, bias, padding=dilation * (side // 2))
    return y.clamp(min=0) if relu else y


def gradients(
    op: Callable[..., Tensor], inputs: tuple[Any, ...], dilation: int, relu: bool = True
) -> list[Tensor]:
    """Gradients of a fixed random weighting of the output, for the inputs that require them."""
    y = op(*inputs, dilation, relu)
    weighting = torch.randn(
        y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    asked = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    return list(torch.autograd.grad((y * weighting.to(y.dtype)).sum(), asked))


class CallRecorder(TorchDispatchMode):
    """Records the name of every operation that reaches the dispatcher."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


# forward


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", CONV_OPS)
def test_forward_is_convolution_with_a_sparse_kernel(
    name: str, side: int, dilation: int, bias: bool, relu: bool
) -> None:
    inputs = operands(side=side, h=9, w=7, bias=bias)
    y = get_conv_op(name)(*inputs, dilation, relu)
    assert y.shape == (2, 2, 9, 7)
    assert_close(y, sparse_convolution(*inputs, dilation, relu))


@pytest.mark.parametrize("name", CONV_OPS)
def test_float32_forward_is_within_rounding_of_float64(name: str) -> None:
    x, weight, bias = operands(4, 16, 16, 3, 28, 28)
    y = get_conv_op(name)(x.float(), weight.float(), bias.float(), 4)
    right = F.conv2d(x, weight, bias, padding=4, dilation=4)
    assert_close(y.double(), right, atol=1e-4, rtol=1e-5)


# gradients


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", CORRECT)
def test_gradients_match_finite_differences(
    name: str, side: int, dilation: int, relu: bool
) -> None:
    c = 1 if side == 5 else 3  # 25 entries a kernel are many
    assert gradcheck(get_conv_op(name), (*operands(c=c, side=side), dilation, relu))


@pytest.mark.parametrize("dilation", DILATIONS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", CORRECT)
def test_second_derivatives_match_finite_differences(name: str, side: int, dilation: int) -> None:
    inputs = operands(1, 1 if side == 5 else 3, 2, side, 4, 3)
    assert gradgradcheck(get_conv_op(name), (*inputs, dilation, True))


def non_contiguous(x: Tensor) -> Tensor:
    return x.transpose(2, 3).contiguous().transpose(2, 3)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def every_other(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=3)[..., ::2]


@pytest.mark.parametrize("layout", [non_contiguous, channels_last, every_other])
@pytest.mark.parametrize("dilation", [1, 2, 8])
@pytest.mark.parametrize("name", CORRECT)
def test_gradients_do_not_depend_on_the_memory_layout(
    name: str, dilation: int, layout: Callable[[Tensor], Tensor]
) -> None:
    op = get_conv_op(name)
    expected = gradients(sparse_convolution, operands(), dilation)

    def op_on_layout(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        return op(layout(x), layout(weight), *rest)

    for grad, right in zip(gradients(op_on_layout, operands(), dilation), expected, strict=True):
        assert_close(grad, right)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3, 1, 1), (1, 3, 2, 3, 1, 7), (3, 2, 3, 5, 2, 1)])
@pytest.mark.parametrize("dilation", [1, 5])
@pytest.mark.parametrize("name", CORRECT)
def test_gradients_of_tiny_images(name: str, dilation: int, shape: tuple[int, ...]) -> None:
    assert gradcheck(get_conv_op(name), (*operands(*shape), dilation, True))


@pytest.mark.parametrize("dilation", [1, 4])
@pytest.mark.parametrize("name", CONV_OPS)
def test_an_empty_batch_has_zero_gradients(name: str, dilation: int) -> None:
    inputs = operands(n=0, w=6)  # square, for `draft`, here and below
    y = get_conv_op(name)(*inputs, dilation, True)
    assert y.shape == (0, 2, 6, 6)
    for grad, tensor in zip(gradients(get_conv_op(name), inputs, dilation), inputs, strict=True):
        assert tensor is not None
        assert grad.shape == tensor.shape
        assert not grad.any()


@pytest.mark.parametrize("name", CORRECT)
def test_gradients_without_a_bias(name: str) -> None:
    assert gradcheck(get_conv_op(name), (*operands(bias=False), 2, True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    name=st.sampled_from(CORRECT),
    n=st.integers(1, 4),
    maps=st.sampled_from([(3, 2), (2, 3)]),  # few, as `manual` compiles for each
    side=st.sampled_from(SIDES),
    size=st.tuples(*[st.integers(1, 11)] * 2),
    dilation=st.integers(1, 18),
    seed=st.integers(0, 2**31),
)
def test_gradients_are_the_adjoints_of_the_convolution(
    name: str,
    n: int,
    maps: tuple[int, int],
    side: int,
    size: tuple[int, int],
    dilation: int,
    seed: int,
) -> None:
    """<conv(x, w), g> = <x, grad_x(g, w)> = <w, grad_weight(g, x)>."""
    x, weight, _ = operands(n, *maps, side, *size, bias=False, seed=seed)
    y = get_conv_op(name)(x, weight, None, dilation)
    grad_output = torch.randn_like(y)
    grad_x, grad_weight = torch.autograd.grad(y, (x, weight), grad_output)
    product = (sparse_convolution(x, weight, None, dilation) * grad_output).sum()
    scale = y.norm() * grad_output.norm()
    assert (product - (x * grad_x).sum()).abs() <= 1e-12 * scale
    assert (product - (weight * grad_weight).sum()).abs() <= 1e-12 * scale


@pytest.mark.parametrize("dilation", [1, 2, 8])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", CORRECT)
def test_gradients_are_those_of_torch_nn_grad(name: str, side: int, dilation: int) -> None:
    """The two primitives that the 2018 post called, here called correctly."""
    x, weight, _ = operands(side=side, h=9, w=8, bias=False)
    y = get_conv_op(name)(x, weight, None, dilation)
    grad_output = torch.randn_like(y)
    grad_x, grad_weight = torch.autograd.grad(y, (x, weight), grad_output)
    options = {"padding": dilation * (side // 2), "dilation": dilation}
    right_x = conv_grads.conv2d_input(x.shape, weight, grad_output, **options)
    right_weight = conv_grads.conv2d_weight(x, weight.shape, grad_output, **options)
    assert_close(grad_x, right_x)
    assert_close(grad_weight, right_weight)


# which arithmetic is used


@contextmanager
def recorded_backward(name: str, needs: tuple[bool, bool, bool]) -> Iterator[list[str]]:
    x, weight, bias = operands(4, 3, 2, 3, 9, 9)
    for tensor, need in zip((x, weight, bias), needs, strict=True):
        assert tensor is not None
        tensor.requires_grad_(need)
    y = get_conv_op(name)(x, weight, bias, 2, True)
    with CallRecorder() as recorder:
        torch.autograd.backward(y.sum())
    yield recorder.calls


def test_the_recorder_sees_the_convolution_backward_of_pytorch() -> None:
    with recorded_backward("auto", (True, True, True)) as calls:
        assert "convolution_backward" in calls
        assert "threshold_backward" in calls


@pytest.mark.parametrize("name", ["manual", "manual_torch", "manual_taps", "broken"])
def test_no_backward_primitive_of_pytorch_runs(name: str) -> None:
    with recorded_backward(name, (True, True, True)) as calls:
        assert calls
        ours = {"conv_backward"}  # the compiled kernel; PyTorch's is convolution_backward
        assert not [call for call in calls if "backward" in call and call not in ours]


def test_the_textbook_form_uses_no_convolution_at_all() -> None:
    inputs = operands()
    with CallRecorder() as recorder:
        torch.autograd.backward(get_conv_op("manual_taps")(*inputs, 2, True).sum())
    assert recorder.calls
    assert not [call for call in recorder.calls if "conv" in call]


@pytest.mark.parametrize(
    ("needs", "conv", "mm", "sums"),
    [
        ((True, False, False), 1, 0, 0),
        ((False, True, False), 0, 9, 0),
        ((False, False, True), 0, 0, 1),
        ((True, True, True), 1, 9, 1),
    ],
)
def test_only_the_gradients_asked_for_are_computed(
    needs: tuple[bool, bool, bool], conv: int, mm: int, sums: int
) -> None:
    with recorded_backward("manual_torch", needs) as calls:
        assert (calls.count("convolution"), calls.count("mm")) == (conv, mm)
        assert calls.count("sum") == sums + 1  # one is the loss


@pytest.mark.parametrize("name", CORRECT)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_the_relu_blocks_is_0_even_if_it_is_not_finite(name: str, bad: float) -> None:
    inputs = operands()
    y = get_conv_op(name)(*inputs, 2, True)
    grad_output = torch.where(y > 0, 1.0, bad)
    expected = torch.autograd.grad(y, inputs, torch.where(y > 0, 1.0, 0.0), retain_graph=True)
    for grad, true in zip(torch.autograd.grad(y, inputs, grad_output), expected, strict=True):
        assert torch.equal(grad, true)


def test_the_output_is_kept_only_where_it_holds_the_relu_mask() -> None:
    for relu in (False, True):
        y = get_conv_op("manual")(*operands(), 2, relu)
        node: Any = y.grad_fn
        assert (node.saved_tensors[2] is not None) == relu


# transformations


@pytest.mark.parametrize("name", CONV_OPS)
def test_vmap_over_images_equals_a_loop(name: str) -> None:
    op = get_conv_op(name)
    _, weight, bias = operands()
    images = torch.randn(4, 2, 3, 6, 5, dtype=torch.float64)
    y = torch.vmap(lambda x: op(x, weight, bias, 2, True))(images)
    assert_close(y, torch.stack([op(x, weight, bias, 2, True) for x in images]))


@pytest.mark.parametrize("name", CONV_OPS)
def test_vmap_over_weights_equals_a_loop(name: str) -> None:
    op = get_conv_op(name)
    x, _, _ = operands()
    weights = torch.randn(4, 2, 3, 3, 3, dtype=torch.float64)
    y = torch.vmap(lambda weight: op(x, weight, None, 2, True))(weights)
    assert_close(y, torch.stack([op(x, weight, None, 2, True) for weight in weights]))


@pytest.mark.parametrize("name", CONV_OPS)
def test_per_sample_gradients_equal_a_loop(name: str) -> None:
    op = get_conv_op(name)
    _, weight, bias = operands()
    images = torch.randn(4, 1, 3, 6, 6, dtype=torch.float64)

    def loss(weight: Tensor, x: Tensor) -> Tensor:
        return op(x, weight, bias, 2, True).square().sum()

    grads = torch.vmap(torch.func.grad(loss), (None, 0))(weight, images)
    loop = [torch.autograd.grad(loss(weight, x), weight)[0] for x in images]
    assert_close(grads, torch.stack(loop))


@pytest.mark.parametrize("name", ["auto", "manual", "manual_torch"])
def test_batched_grad_outputs(name: str) -> None:
    """The mechanism behind torch.autograd.functional.jacobian(vectorize=True)."""
    op = get_conv_op(name)
    inputs: Any = (*operands(1, 3, 2, 3, 4, 3), 2, True)
    assert gradcheck(op, inputs, check_batched_grad=True)
    assert gradgradcheck(op, inputs, check_batched_grad=True)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("name", CONV_OPS)
def test_autocast_computes_in_bfloat16_and_returns_float32_gradients(name: str, relu: bool) -> None:
    inputs = operands(w=6, dtype=torch.float32)
    half = tuple(t.detach().bfloat16().requires_grad_() for t in inputs if t is not None)
    with torch.autocast("cpu", torch.bfloat16):
        y = get_conv_op(name)(*inputs, 2, relu)
        grads = gradients(get_conv_op(name), inputs, 2, relu)
    assert y.dtype == torch.bfloat16
    assert_close(y, get_conv_op(name)(*half, 2, relu), rtol=0, atol=0)
    for grad, right in zip(grads, gradients(get_conv_op(name), half, 2, relu), strict=True):
        assert grad.dtype == torch.float32
        assert_close(grad, right.float(), rtol=0, atol=0)


def test_autocast_is_that_of_pytorch() -> None:
    x, weight, bias = operands(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        right = F.conv2d(x, weight, bias, padding=2, dilation=2)
        for name in ("auto", "manual", "manual_torch"):
            assert_close(get_conv_op(name)(x, weight, bias, 2), right, rtol=0, atol=0)


@pytest.mark.parametrize("name", CONV_OPS)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.int32, torch.bool])
def test_autocast_refuses_what_is_not_floating_point(name: str, dtype: torch.dtype) -> None:
    x, weight, bias = operands(dtype=torch.float32)
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match=f"x has dtype {dtype}"),
    ):
        get_conv_op(name)(x.detach().to(dtype), weight, bias, 2)


def test_autocast_leaves_float64_alone() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert get_conv_op("manual")(*operands(), 2).dtype == torch.float64


@pytest.mark.parametrize("name", ["auto", "manual", "manual_torch"])
def test_backward_inside_autocast_keeps_the_precision_of_the_forward(name: str) -> None:
    inputs = operands(dtype=torch.float32)
    y = get_conv_op(name)(*inputs, 2, True)
    expected = torch.autograd.grad(y.sum(), inputs, retain_graph=True)
    loss = y.sum()
    with torch.autocast("cpu", torch.bfloat16):
        grads = torch.autograd.grad(loss, inputs)
    for grad, right in zip(grads, expected, strict=True):
        assert_close(grad, right, rtol=0, atol=0)


BACKENDS = ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CONV_OPS)
def test_compiled_backward_equals_eager(name: str, backend: str) -> None:
    torch._dynamo.reset()
    op: Callable[..., Tensor] = get_conv_op(name)
    compiled = torch.compile(op, backend=backend, fullgraph=True)
    inputs = operands(w=6)
    eager = gradients(op, inputs, 2)
    for grad, right in zip(gradients(compiled, inputs, 2), eager, strict=True):
        assert_close(grad, right)
    if name == "broken":
        true = gradients(sparse_convolution, inputs, 2)
        assert not torch.allclose(eager[0], true[0], rtol=0.1)
        assert not torch.allclose(eager[1], true[1], rtol=0.1)


@pytest.mark.parametrize("name", CONV_OPS)
def test_shapes_are_known_without_data(name: str) -> None:
    x, weight = torch.empty(2, 3, 9, 7, device="meta"), torch.empty(4, 3, 3, 3, device="meta")
    assert get_conv_op(name)(x, weight, None, 2, True).shape == (2, 4, 9, 7)


# mistakes


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"'manul'.*auto, manual, manual_torch, manual_taps, broken"
    ):
        get_conv_op("manul")


MISTAKES: dict[str, tuple[Callable[..., tuple[Any, ...]], str]] = {
    "x of rank 3": (lambda x, w, b: (x[0], w, b, 1), r"x has shape \(3, 6, 5\).*4 axes"),
    "weight of rank 2": (lambda x, w, b: (x, w[0, 0], b, 1), r"weight has shape \(3, 3\)"),
    "even kernel": (lambda x, w, b: (x, w[..., :2, :2], b, 1), "kernel is 2x2.*odd side"),
    "oblong kernel": (lambda x, w, b: (x, w[..., :1], b, 1), "kernel is 3x1.*square"),
    "channel count": (lambda x, w, b: (x[:, :2], w, b, 1), "x has 2 channels.*takes 3"),
    "bias too long": (
        lambda x, w, b: (x, w, torch.cat([b, b]), 1),
        r"bias has shape \(4,\).*\(2,\)",
    ),
    "integer x": (lambda x, w, b: (x.detach().int(), w, b, 1), "x has dtype torch.int32"),
    "weight's dtype": (lambda x, w, b: (x, w.float(), b, 1), "weight has dtype torch.float32.*64"),
    "bias's dtype": (lambda x, w, b: (x, w, b.float(), 1), "bias has dtype torch.float32.*64"),
    "dilation 0": (lambda x, w, b: (x, w, b, 0), "dilation=0"),
    "dilation 1.5": (lambda x, w, b: (x, w, b, 1.5), "dilation=1.5"),
    "dilation True": (lambda x, w, b: (x, w, b, True), "dilation=True"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("name", CONV_OPS)
def test_a_wrong_argument_is_refused_with_its_value(name: str, mistake: str) -> None:
    arguments, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        get_conv_op(name)(*arguments(*operands()))
