"""What check_op takes, what it measures, and when it says right."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from context_agg.gradients import assert_backward, check_op
from context_agg.ops import CONV_OPS
from context_agg.ops.mistakes import MISTAKES
from tests.operands import CORRECT, operands


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator)


SAYS = {  # of each wrong rule at dilation 4, on square maps
    "broken": ["grad_x is that of dilation 1", "grad_weight is that of dilation 1"],
    "undilated_grad_x": ["grad_x is that of dilation 1"],
    "undilated_grad_weight": ["grad_weight is that of dilation 1"],
    "unrotated": ["grad_x has the kernel not rotated"],
    "no_bias_grad": ["grad_bias is zero everywhere"],
    "draft": [
        "grad_x is that of dilation 3, with height and width of grad_output exchanged",
        "grad_weight is that of dilation 3, with height and width of grad_output exchanged",
    ],
    "sign_symmetric": ["grad_x has the signs of the kernel's entries in their place"],
    "feedback_alignment": ["grad_x is that of another kernel"],
}


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("rule", [*CORRECT, *MISTAKES])
def test_every_rule_of_ours_is_called_right_or_its_mistake_named(rule: str, relu: bool) -> None:
    x, weight, bias = operands(c=3, k=2, h=9, w=9)

    def op(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return CONV_OPS[rule](x, weight, bias, 4, relu)

    def reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y = F.conv2d(x, weight, bias, padding=4, dilation=4)
        return y.relu() if relu else y

    report = check_op(op, (x, weight, bias), reference)
    assert report.right == (rule in CORRECT)
    said = [re.split(r" \(relative|; it is wrong", words)[0] for words in report.diagnoses]
    assert said == SAYS.get(rule, [])


# right gradients

Sizes = st.integers(1, 3)


def conv(
    axes: int, stride: int, dilation: int, groups: int
) -> tuple[Callable[..., Any], list[Tensor]]:
    x, weight = draw(1, 2 * groups, *[dilation + 2] * axes), draw(groups, 2, *[3] * axes)

    def convolve(x: Tensor, weight: Tensor) -> Tensor:
        return getattr(F, f"conv{axes}d")(  # type: ignore[no-any-return]
            x, weight, None, stride, dilation, dilation, groups
        )

    return convolve, [x, weight]


def masked(fill: float) -> Callable[[Tensor, Tensor], Tensor]:
    """The scores of an attention in which nothing looks ahead."""

    def scores(q: Tensor, k: Tensor) -> Tensor:
        y = q @ k.T
        return y.masked_fill(torch.ones_like(y).triu(1).bool(), fill)

    return scores


MASKED = {1: masked(-math.inf), 2: masked(torch.finfo(torch.float64).min), 3: masked(-1e9)}

RIGHT: dict[str, Callable[[int, int, int], tuple[Callable[..., Any], list[Any]]]] = {
    "matmul": lambda n, c, k: (torch.matmul, [draw(n, c), draw(c, k)]),
    "linear": lambda n, c, k: (F.linear, [draw(n, c), draw(k, c), draw(k)]),
    "broadcast": lambda n, c, k: (lambda a, b: a * b + b, [draw(n, c, k), draw(c, 1)]),
    "division": lambda n, c, k: (torch.div, [draw(n, c), draw(n, c, seed=k).abs() + 0.5]),
    "softmax": lambda n, c, k: (lambda x: x.softmax(-1), [3 * draw(n, c + 1)]),
    "log_sum": lambda n, c, k: (lambda x: x.logsumexp(0), [draw(n + 1, c)]),
    "relu": lambda n, c, k: (torch.relu, [draw(n, c, k)]),
    "relu_at_zero": lambda n, c, k: (torch.relu, [draw(n, c + 1).round()]),
    "absolute": lambda n, c, k: (torch.abs, [draw(n, c, k)]),
    "maximum": lambda n, c, k: (lambda x: x.amax(-1), [draw(n, c, k + 1)]),
    "ties": lambda n, c, k: (lambda x: F.max_pool1d(x, 2), [draw(n, c, 2 * k).round()]),
    "norm": lambda n, c, k: (lambda x, w: F.layer_norm(x, x.shape[-1:], w), [draw(n, 4), draw(4)]),
    "loss": lambda n, c, k: (F.mse_loss, [draw(n, c), draw(n, c, seed=k)]),
    "classes": lambda n, c, k: (F.cross_entropy, [draw(n, c + 1), torch.arange(n) % (c + 1)]),
    "gather": lambda n, c, k: (F.embedding, [torch.arange(n * k) % (c + 1), draw(c + 1, k)]),
    "attention": lambda n, c, k: (
        F.scaled_dot_product_attention,
        [draw(n, c, 3), draw(n, k, 3), draw(n, k, 2)],
    ),
    "prefix": lambda n, c, k: (lambda x: x.cumsum(-1), [draw(n, c, k)]),
    "several": lambda n, c, k: (lambda x, y: (x * y, x.sin()), [draw(n, c), draw(n, c, seed=1)]),
    "list": lambda n, c, k: (torch.cat, [[draw(n, c), draw(k, c)]]),
    "zero": lambda n, c, k: (lambda x, y: x + 0 * y, [draw(n, c), draw(n, c, seed=1)]),
    "unused": lambda n, c, k: (lambda x, y: x.exp(), [draw(n, c), draw(k)]),
    "small": lambda n, c, k: (torch.log, [1e-4 * draw(n, c).abs() + 1e-5]),
    "large": lambda n, c, k: (torch.sin, [1e4 * draw(n, c)]),
    "dropout": lambda n, c, k: (F.dropout, [draw(n, c, k)]),
    "in_place": lambda n, c, k: (nn.ReLU(inplace=True), [draw(n, c, k)]),
    "masked": lambda n, c, k: (MASKED[k], [draw(n + 1, c), draw(n + 1, c, seed=1)]),
    "constant": lambda n, c, k: (lambda x: x.softmax(-1).sum(-1), [draw(n, c, k)]),
    "cancelled": lambda n, c, k: (
        lambda x, b: F.batch_norm(x + b, None, None, training=True),
        [draw(n + 3, c), draw(c)],
    ),
    "conv": lambda n, c, k: conv(n, c, k, 1 + c % 2),
    "transposed": lambda n, c, k: (
        lambda x, w: F.conv_transpose2d(x, w, stride=k, padding=1),
        [draw(n, c, 3, 2), draw(c, 2, 3, 3)],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
@settings(max_examples=6, deadline=None)
@given(n=Sizes, c=Sizes, k=Sizes)
def test_a_right_gradient_is_never_accused(name: str, n: int, c: int, k: int) -> None:
    op, inputs = RIGHT[name](n, c, k)
    beside_reference = check_op(op, inputs, op)
    assert beside_reference.right, beside_reference
    beside_differences = check_op(op, inputs)
    assert not beside_differences.wrong, beside_differences


@pytest.mark.parametrize("fill", MASKED)
@pytest.mark.parametrize("has_reference", [True, False])
@pytest.mark.parametrize("size", [0.1, 1.0])
def test_outputs_that_are_constant_and_huge_hide_nothing(
    size: float, has_reference: bool, fill: int
) -> None:
    class Wrong(Function):
        @staticmethod
        def forward(ctx: Any, q: Tensor, k: Tensor) -> Tensor:
            ctx.save_for_backward(q, k)
            return MASKED[fill](q, k)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            q, k = ctx.saved_tensors
            return -7 * g.tril() @ k, 1.2 * g.tril().T @ q

    inputs = [size * draw(4, 3), size * draw(4, 3, seed=1)]
    report = check_op(Wrong, inputs, MASKED[fill] if has_reference else None)
    says = ["has the wrong sign and is 7 times too large", "is 1.2 times too large"]
    for (name, words), diagnosis in zip(
        zip("qk", says, strict=True), report.diagnoses, strict=True
    ):
        assert diagnosis.startswith(f"grad_{name} {words}"), report


def test_a_tiny_operand_hides_nothing() -> None:
    """The scale of a layer is 1e-12 at first, and its gradient has the wrong sign."""

    class LayerScale(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x + scale * x.sin()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return g, -(g * x.sin()).sum(0)

    (diagnosis,) = check_op(LayerScale, [draw(8, 4), torch.full((4,), 1e-12)]).diagnoses
    assert diagnosis.startswith("grad_scale has the wrong sign")


# what it takes


def test_positional_only_inputs_have_their_names() -> None:
    def op(x: Tensor, w: Tensor, /, b: Tensor) -> Tensor:
        return x.detach() * w + b

    report = check_op(op, [draw(3), draw(3, seed=1), draw(3, seed=2)])
    assert [tensor.name for tensor in report.tensors] == ["grad_x", "grad_w", "grad_b"]


class Pair(NamedTuple):
    x: Tensor
    w: Tensor


def test_a_named_tuple_keeps_its_names() -> None:
    report = check_op(lambda pair: pair.x * pair.w, [Pair(draw(3), draw(3, seed=1))])
    assert report.right, report


def test_sparse_gradients_are_compared() -> None:
    report = check_op(nn.Embedding(5, 3, sparse=True), torch.tensor([1, 2]))
    assert report.right, report
    assert [tensor.name for tensor in report.tensors] == ["grad_weight"]


@pytest.mark.parametrize(("inputs", "kind"), [(None, "NoneType"), ({"x": draw(3)}, "dict")])
def test_inputs_of_another_kind_are_refused(inputs: Any, kind: str) -> None:
    with pytest.raises(ValueError, match=f"inputs is a {kind}, but must be a tensor, or a list"):
        check_op(torch.sin, inputs)


@pytest.mark.parametrize("largest", [0.999, 1 - 1e-7, 1 - 1e-9])
def test_values_outside_the_domain_of_the_operator_are_not_held_against_it(largest: float) -> None:
    """Steps, and roundings to 16 bits, go to 1 and beyond."""

    def log_odds(p: Tensor) -> Tensor:
        if p.min() <= 0 or p.max() >= 1:
            raise ValueError("p must lie between 0 and 1")
        return p.log() - (-p).log1p()

    p = torch.tensor([0.3, largest], dtype=torch.float64)
    report = check_op(log_odds, p, log_odds)
    assert report.right, report
    report = check_op(log_odds, p)
    assert all(tensor.exact for tensor in report.tensors), report


@pytest.mark.parametrize("at", [1.0, 1.2])
def test_a_jump_at_one_entry_leaves_the_others_alone(at: float) -> None:
    """Beside a kink at 0, there is a jump at 1 and none at 1.2."""

    def op(x: Tensor) -> Tensor:
        return torch.stack([x[0].relu(), x[1].floor(), x[2] ** 2])

    report = check_op(op, torch.tensor([0.0, at, 0.3]))
    assert report.right, report
    assert report.remarks[0].startswith(f"{2 if at == 1 else 1} of 3 entries of x are left out")


def test_an_output_that_is_marked_as_not_differentiable_is_a_constant() -> None:
    class Scaled(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            scale = x.abs().max()
            ctx.save_for_backward(x)
            ctx.mark_non_differentiable(scale)
            return x**2, scale

        @staticmethod
        def backward(ctx: Any, g: Tensor, _: Tensor) -> Any:
            return 2 * ctx.saved_tensors[0] * g

    report = check_op(Scaled, draw(5))
    assert report.right, report
    assert "y[1] does not require a gradient, so it is taken as a constant" in report.remarks

    def differentiable(x: Tensor) -> tuple[Tensor, Tensor]:
        return x**2, x.abs().max()

    (diagnosis,) = check_op(Scaled, draw(5), differentiable).diagnoses
    assert diagnosis.startswith("grad_x lacks what comes from y[1]")


class Scale(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor, power: int) -> Tensor:
        ctx.save_for_backward(x, factor)
        ctx.power = power
        return x**power * factor

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, factor = ctx.saved_tensors
        grad_x = g * factor * ctx.power * x ** (ctx.power - 1)
        return grad_x, (g * x**ctx.power).sum(), None


@pytest.mark.parametrize("op", [Scale, Scale.apply])
def test_an_autograd_function_and_its_apply(op: Any) -> None:
    report = check_op(op, (draw(3, 2), torch.tensor(2.0), 3))
    assert report.right
    assert [t.name for t in report.tensors] == ["grad_x", "grad_factor"]
    assert report.name == "Scale"


def library_operator(name: str, wrong: float) -> Any:
    @torch.library.custom_op(f"context_agg_tests::{name}", mutates_args=())
    def cube(x: Tensor, weight: Tensor) -> Tensor:
        return x**3 * weight

    def setup(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        return wrong * 3 * g * x**2 * weight, g * x**3

    cube.register_autograd(backward, setup_context=setup)
    return cube


def test_a_torch_library_operator() -> None:
    right, wrong = library_operator("cube", 1), library_operator("wrong_cube", 0.5)
    inputs = draw(3, 2), draw(3, 2, seed=1)
    for op in (right, torch.ops.context_agg_tests.cube):
        report = check_op(op, inputs)
        assert report.right
        assert [t.name for t in report.tensors] == ["grad_x", "grad_weight"]
    (diagnosis,) = check_op(wrong, inputs).diagnoses
    assert diagnosis.startswith("grad_x is 2 times too small: ")
    assert "a forgotten factor 2" in diagnosis


def test_a_module_is_checked_with_its_parameters_and_left_as_it_was() -> None:
    norm = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).train()
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    report = check_op(norm, draw(5, 3))
    assert report.right, report
    names = [tensor.name.removeprefix("grad_") for tensor in report.tensors]
    assert names == ["input", "0.weight", "0.bias", "1.weight", "1.bias"]
    assert all(torch.equal(before[name], tensor) for name, tensor in norm.state_dict().items())


class Halved(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        y = F.linear(input, self.weight, self.bias)
        return y / 2 + y.detach() / 2


@pytest.mark.parametrize(
    "reference", [nn.Linear(3, 2), lambda input, weight, bias: F.linear(input, weight, bias), None]
)
def test_a_module_beside_a_module_a_function_or_differences(reference: Any) -> None:
    found = check_op(Halved(3, 2), draw(4, 3), reference).diagnoses
    names = ("grad_input", "grad_weight", "grad_bias")
    for name, words in zip(names, found, strict=True):
        assert words.startswith(f"{name} is 2 times too small")


def test_a_module_with_other_parameters_is_no_reference() -> None:
    with pytest.raises(ValueError, match=r"it must have \{'weight': \(2, 3\)"):
        check_op(nn.Linear(3, 2), draw(4, 3), nn.Linear(3, 2, bias=False))


def test_inputs_are_differentiated_whether_or_not_they_require_it() -> None:
    x, w = draw(3), draw(3, seed=1).requires_grad_()
    assert [t.name for t in check_op(lambda x, w: x * w, (x, w)).tensors] == ["grad_x", "grad_w"]
    assert not x.requires_grad
    assert w.grad is None
    with torch.no_grad():
        assert check_op(lambda x, w: x * w, (x, w)).right


def test_nothing_to_differentiate_is_refused() -> None:
    with pytest.raises(ValueError, match="no floating-point tensor"):
        check_op(torch.neg, torch.arange(3))
    with pytest.raises(ValueError, match="view_as_real"):
        check_op(torch.neg, torch.ones(2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="only dense tensors"):
        check_op(torch.neg, torch.eye(2).to_sparse())


def test_too_much_for_finite_differences_is_refused() -> None:
    with pytest.raises(ValueError, match="pass smaller inputs, or a reference"):
        check_op(torch.sin, torch.zeros(30_000))
    assert check_op(torch.sin, torch.zeros(30_000), torch.sin).right


def test_a_reference_that_raises_is_named() -> None:
    with pytest.raises(ValueError, match="the reference raised RuntimeError: size mismatch"):
        check_op(torch.neg, draw(3), lambda x: torch.mv(x[None], x[:2]))


# what it measures


def test_the_measures_are_those_of_the_definition() -> None:
    class Rough(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 3 * x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return torch.stack([3 * g[0], -3 * g[1], 6 * g[2]])

    (tensor,) = check_op(Rough, draw(3)).tensors
    generator = torch.Generator().manual_seed(1)
    a, b, c = torch.randn(3, generator=generator, dtype=torch.float64).tolist()
    right, ours = (3 * a, 3 * b, 3 * c), (3 * a, -3 * b, 6 * c)
    largest = max(abs(6 * b), abs(3 * c))
    length = math.hypot(*right)
    assert tensor.difference == pytest.approx(largest)
    assert tensor.relative == pytest.approx(largest / max(map(abs, right)))
    dot = sum(p * q for p, q in zip(ours, right, strict=True))
    assert tensor.alignment.cosine == pytest.approx(dot / length / math.hypot(*ours))
    assert tensor.alignment.norm_ratio == pytest.approx(math.hypot(*ours) / length)
    assert tensor.alignment.sign_agreement == pytest.approx(2 / 3)


def test_low_precision_has_the_errors_of_its_digits() -> None:
    for tensor in check_op(torch.matmul, (draw(5, 7), draw(7, 4))).tensors:
        assert tensor.float32 is not None
        assert 1e-9 < tensor.float32 < 1e-6
        assert tensor.bfloat16 is not None
        assert 1e-4 < tensor.bfloat16 < 2e-2


def test_a_mistake_in_float32_alone_is_found() -> None:
    class Mixed(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return 2 * g + (0.1 if g.dtype == torch.float32 else 0)

    report = check_op(Mixed, draw(6))
    assert not report.right
    assert "though not in float64" in report.faults[0]


def test_an_ill_conditioned_gradient_is_no_mistake() -> None:
    def steep(x: Tensor) -> Tensor:
        return (1e7 * x).sin()

    report = check_op(steep, draw(6) + 2, steep)
    assert report.right, report
    assert "ill-conditioned" in str(report)


class OnlyFloat32(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("only float32")
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g * ctx.saved_tensors[0].cos()


def inside(x: Tensor) -> Tensor:
    return OnlyFloat32.apply(x.float()).to(x.dtype)  # type: ignore[no-any-return]


@pytest.mark.parametrize("op", [OnlyFloat32, inside])
@pytest.mark.parametrize("reference", [None, torch.sin])
def test_an_operator_of_float32_is_measured_more_coarsely_and_says_so(
    op: Any, reference: Any
) -> None:
    report = check_op(op, draw(4, 3), reference)
    assert report.right, report
    assert "float32" in report.remarks[0]
    assert "cannot be told from rounding" in report.remarks[0]


def test_random_numbers_in_the_backward_are_found() -> None:
    class Noisy(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return 2 * g + 1e-3 * torch.randn_like(g)

    report = check_op(Noisy, draw(6))
    assert not report.right
    assert report.diagnoses[0].startswith("grad_x is not deterministic: two backward passes lie")


def test_an_output_that_changes_is_found() -> None:
    calls = iter(range(1000))
    report = check_op(lambda x: x * (1 + next(calls) % 3), draw(3), torch.neg)
    assert "differs between two calls" in report.faults[0]


def test_an_output_that_is_not_the_reference_s_is_said() -> None:
    (y, _) = check_op(torch.sin, draw(3), torch.cos).tensors
    assert not y.exact
    assert "differs from the reference's" in y.diagnosis
    report = check_op(lambda x: x[:2], draw(3), torch.cos)
    assert report.faults == ("the outputs have the shapes [(2,)]; the reference's have [(3,)]",)


def test_what_an_operator_raises_is_reported() -> None:
    def raises(x: Tensor) -> Tensor:
        raise RuntimeError("not today")

    class Sideways(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return 2 * g.T

    assert check_op(raises, draw(3)).faults == ("the forward raised RuntimeError: not today",)
    (fault,) = check_op(Sideways, draw(3, 4)).faults
    assert fault.startswith("the backward raised RuntimeError")
    assert fault.endswith(": its axes are exchanged")


def test_a_backward_that_needs_every_output_to_be_used_is_found() -> None:
    class Pair(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
            ctx.set_materialize_grads(False)
            return 2 * x, 3 * x

        @staticmethod
        def backward(ctx: Any, g: Tensor, h: Tensor) -> Any:
            return 2 * g + 3 * h

    faults = check_op(Pair, draw(3)).faults
    assert [f"where only y[{i}] is used" in fault for i, fault in enumerate(faults)] == [True] * 2


@pytest.mark.parametrize("reference", [None, torch.sqrt])
def test_where_the_right_gradient_is_not_finite_nothing_is_said(reference: Any) -> None:
    report = check_op(torch.sqrt, torch.tensor([0.0, 1.0, 4.0]), reference)
    assert report.right, report
    assert "1 of 3 entries of input 0 are left out" in report.remarks[0]


class Activation(Function):
    """A ReLU whose gradient at 0, and everywhere else, can be set."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, at_zero: float, below: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.slopes = at_zero, below
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        at_zero, below = ctx.slopes
        slope = torch.where(x > 0, 1, torch.where(x < 0, below, at_zero))
        return g * slope, None, None


def relu(x: Tensor, *_: float) -> Tensor:
    return x.relu()


@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0, -0.1, 1.1, math.nan])
def test_at_a_kink_any_slope_between_the_two_sides_is_right(at_zero: float) -> None:
    x = torch.tensor([0.0, 1.0, -1.0, 0.0, 2.0])
    report = check_op(Activation, (x, at_zero, 0.0), relu)
    assert report.right == (0 <= at_zero <= 1)
    assert ("has a kink and either may be right" in str(report)) == (0 < at_zero <= 1)
    assert check_op(Activation, (x, at_zero, 0.0)).right  # left out of finite differences


@pytest.mark.parametrize("reference", [relu, None])
def test_a_missing_mask_is_named_although_some_inputs_are_exactly_0(reference: Any) -> None:
    x = draw(5, 4).round(decimals=1)
    x[0] = 0
    (diagnosis,) = check_op(Activation, (x, 1.0, 1.0), reference).diagnoses
    assert "the mask of a ReLU missing?" in diagnosis


@pytest.mark.parametrize("reference", [None, torch.sin])
def test_a_gradient_that_is_not_a_number_is_not_right(reference: Any) -> None:
    class Nan(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return g * math.nan

    (diagnosis,) = check_op(Nan, draw(3), reference).diagnoses
    assert diagnosis == "grad_x is not finite at 3 of 3 entries"


def test_a_straight_through_estimator_is_called_what_it_is() -> None:
    class Straight(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.round()

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return g

    (diagnosis,) = check_op(Straight, draw(5)).diagnoses
    assert diagnosis.startswith("grad_x should be zero: the output does not change with it")


def test_a_gradient_that_float32_cannot_hold_is_no_mistake() -> None:
    report = check_op(lambda x: (1e-25 * x) ** 2, draw(4))
    assert report.right, report
    assert "too small or too large for float32" in str(report)


def test_a_16_bit_output_is_measured_coarsely_and_needs_a_reference() -> None:
    def rough(x: Tensor) -> Tensor:
        return x.sin().bfloat16()

    report = check_op(rough, draw(4), torch.sin)
    assert report.right, report
    assert "gives its output in 16 bits" in report.remarks[0]
    with pytest.raises(
        ValueError, match="16 bits are too coarse for finite differences: give a reference"
    ):
        check_op(rough, draw(4))


def test_rounding_to_digits_is_not_taken_for_float32() -> None:
    report = check_op(lambda x: x.round(decimals=3), draw(20))
    assert report.right or "cannot be settled" in str(report)
    assert "float32 inside" not in str(report)


def test_nan_in_both_outputs_is_no_difference() -> None:
    x = torch.tensor([-1.0, 2.0])
    assert check_op(torch.log, x, torch.log).right


def test_an_operator_that_takes_its_input_to_be_symmetric_is_named() -> None:
    half = draw(4, 4)
    (diagnosis,) = check_op(torch.linalg.eigvalsh, half @ half.T).diagnoses
    assert (
        diagnosis.startswith("grad_A is made symmetric") or "input 0 is made symmetric" in diagnosis
    )
    assert check_op(lambda x: torch.linalg.eigvalsh(x + x.T), half).right


def test_an_input_without_a_gradient_has_to_be_bound() -> None:
    (fault,) = check_op(F.soft_margin_loss, (draw(3), draw(3).sign())).faults
    assert "is not differentiable with respect to argument 'target'" in fault
    assert fault.endswith("Bind it, as in `lambda x: op(x, constant)`.")


# second derivatives


def test_second_derivatives_on_request() -> None:
    inputs = draw(2, 2, 5, 4), draw(3, 2, 3, 3)

    def op(x: Tensor, weight: Tensor) -> Tensor:
        return CONV_OPS["manual"](x, weight, None, 2, True).tanh()

    def reference(x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=2, dilation=2).relu().tanh()

    for beside in (reference, None):
        report = check_op(op, inputs, beside, second_order=True)
        assert report.right, report
        seconds = [t.name for t in report.tensors if "second" in t.name]
        assert seconds == [
            f"second derivative by {name}" for name in ("x", "weight", "grad_output")
        ]


@pytest.mark.parametrize("reference", [None, torch.sin])
def test_a_backward_without_second_derivatives_is_found(reference: Any) -> None:
    class Once(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, g: Tensor) -> Any:
            return g * ctx.saved_tensors[0].cos()

    class Cut(Once):
        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return g * ctx.saved_tensors[0].detach().cos()

    assert check_op(Once, draw(4), reference).right
    for op, without in ((Once, ["x", "grad_output"]), (Cut, ["x"])):
        found = check_op(op, draw(4), reference, second_order=True).diagnoses
        for name, words in zip(without, found, strict=True):
            assert words.startswith(f"second derivative by {name} is missing: autograd did not")


# pytest


def test_assert_backward_is_silent_or_raises_the_report() -> None:
    assert_backward(torch.sin, draw(3))
    with pytest.raises(AssertionError, match="grad_x is zero everywhere"):
        assert_backward(lambda x: x.sin().detach() + 0 * x, draw(3))


def test_the_tolerance_can_be_set() -> None:
    class Near(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return 2.002 * g

    assert not check_op(Near, draw(4)).right
    assert check_op(Near, draw(4), tolerance=1e-2).right
    with pytest.raises(ValueError, match="tolerance=0 must be a number above 0"):
        check_op(Near, draw(4), tolerance=0)


def test_the_global_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state()
    check_op(F.dropout, draw(5))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_another_device() -> None:
    report = check_op(F.linear, (draw(3, 4), draw(2, 4)), device="cuda", second_order=True)
    assert report.right, report
