"""Right gradients that are hard to measure, and wrong ones that are easy to miss."""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from context_agg.gradients import check_op


def operator(forward: Callable[..., Any], backward: Callable[..., Any]) -> type[Function]:
    """The operator with these two passes, which take the context first."""
    return type(
        "Operator",
        (Function,),
        {"forward": staticmethod(forward), "backward": staticmethod(backward)},
    )


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def double(ctx: Any, x: Tensor) -> Tensor:
    return 2 * x


def square(ctx: Any, x: Tensor) -> Tensor:
    ctx.save_for_backward(x)
    return x**2


# wrong in some uses only


def two(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    ctx.set_materialize_grads(False)
    return 2 * x, 3 * x


def both_or_none(ctx: Any, g: Tensor | None, h: Tensor | None) -> Tensor | None:
    return None if g is None or h is None else 2 * g + 3 * h


def each(ctx: Any, g: Tensor | None, h: Tensor | None) -> Tensor:
    return sum(k * part for k, part in ((2, g), (3, h)) if part is not None)  # type: ignore[return-value]


def test_a_gradient_that_needs_both_outputs_to_be_used() -> None:
    found = check_op(operator(two, both_or_none), drawn(3)).diagnoses
    assert found == [
        f"grad_x differs where only y[{k}] is used: grad_output of the others is None then"
        for k in (0, 1)
    ]
    assert check_op(operator(two, each), drawn(3)).right


@pytest.mark.parametrize(
    ("backward", "size"),
    [
        (lambda ctx, g: 2 * ctx.saved_tensors[0] * g.clamp(-5, 5), "1024 times"),
        (
            lambda ctx, g: 2 * ctx.saved_tensors[0] * torch.where(g.abs() < 1e-2, 0, g),
            "1/1024",
        ),
    ],
)
def test_a_gradient_that_is_linear_in_the_middle_only(
    backward: Callable[..., Any], size: str
) -> None:
    found = check_op(operator(square, backward), drawn(3)).diagnoses
    assert found == [f"grad_x is not linear in grad_output: it differs at {size} its size"]


def test_a_backward_that_raises_at_a_large_grad_output() -> None:
    def backward(ctx: Any, g: Tensor) -> Tensor:
        if g.abs().max() > 100:
            raise OverflowError("too large")
        gradient: Tensor = 2 * ctx.saved_tensors[0] * g
        return gradient

    found = check_op(operator(square, backward), drawn(3)).diagnoses
    assert found == [
        "the backward raised OverflowError: too large where grad_output has 1024 times its size"
    ]


def with_weight(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    ctx.save_for_backward(x, weight)
    return x * weight + bias


def test_a_gradient_that_is_wrong_where_another_operand_is_frozen() -> None:
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        x, weight = ctx.saved_tensors
        needs = ctx.needs_input_grad
        return g * weight, g * x if needs[2] or not needs[0] else torch.zeros_like(x), g

    found = check_op(operator(with_weight, backward), [drawn(3) for _ in range(3)]).diagnoses
    where = "where bias requires no gradient: is needs_input_grad read right?"
    assert found == [f"grad_weight differs {where}"]


# dtypes


def test_a_backward_that_raises_in_the_dtype_of_the_inputs() -> None:
    def in_float64(ctx: Any, g: Tensor) -> Tensor:
        return g @ (2 * torch.eye(g.shape[-1], dtype=torch.float64))

    (found,) = check_op(operator(double, in_float64), drawn(2, 3)).diagnoses
    assert found.startswith("the backward raised RuntimeError")
    assert found.endswith("in torch.float32, the dtype of the inputs")
    assert check_op(operator(double, in_float64), drawn(2, 3).double()).right


def test_a_backward_that_takes_float32_only() -> None:
    def in_float32(ctx: Any, g: Tensor) -> Tensor:
        return g @ (2 * torch.eye(g.shape[-1]))

    def wrong(ctx: Any, g: Tensor) -> Tensor:
        return g @ (3 * torch.eye(g.shape[-1]))

    report = check_op(operator(double, in_float32), drawn(2, 3))
    assert report.right, report
    assert "the backward does not take float64" in report.remarks[0]
    assert check_op(operator(double, wrong), drawn(2, 3)).wrong


def test_an_overflow_in_float32_is_called_that() -> None:
    report = check_op(lambda x: torch.log(1 + torch.exp(x)), torch.tensor([1.0, -2.0, 100.0]))
    assert report.right
    assert report.remarks == (
        "grad_x is not finite in float32, whose range the operator leaves on the way",
    )


# outputs that are large beside what changes them


@pytest.mark.parametrize("offset", [100.0, 1e6, 3e6, 1e7, 1e9])
def test_an_output_with_an_offset(offset: float) -> None:
    assert check_op(lambda x: offset + x, drawn(3)).right
    assert check_op(lambda x: offset + x.relu(), torch.tensor([5e-7, 0.5, -1.0])).right
    triple = operator(lambda ctx, x: offset + 2 * x, lambda ctx, g: 3 * g)
    (found,) = check_op(triple, drawn(3)).diagnoses
    assert found.startswith("grad_x ")
    if offset < 1e7:
        assert found.startswith("grad_x is 1.5 times too large")


def test_what_finite_differences_cannot_see_is_not_called_right() -> None:
    report = check_op(lambda x: 1e12 + x, drawn(3))
    assert not report.right
    assert not report.wrong
    assert report.unsettled == ("grad_x",)
    assert check_op(lambda x: 1e12 + x, drawn(3), lambda x: 1e12 + x).right


@pytest.mark.parametrize("scale", [1e-6, 1e-7, 1e-8])
@pytest.mark.parametrize("factor", [-1.0, 0.5, 1.02])
def test_a_small_gradient_beside_a_large_one(scale: float, factor: float) -> None:
    """As that of a LayerScale."""

    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x + scale * x * weight

    def backward(ctx: Any, g: Tensor, by: float = factor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return g * (1 + scale * weight), by * scale * (g * x).sum(0)

    inputs = drawn(3, 2), 0.02 * drawn(2)
    assert check_op(operator(forward, lambda ctx, g: backward(ctx, g, 1.0)), inputs).right
    report = check_op(operator(forward, backward), inputs)
    assert [t.name for t in report.tensors if not t.exact] == ["grad_weight"], report


# outputs that are not finite


@pytest.mark.parametrize("beside", [False, True])
def test_a_masked_softmax(beside: bool) -> None:
    masked = torch.tensor([False, True, False, False, True])

    def op(x: Tensor) -> Tensor:
        return x.masked_fill(masked, -inf).log_softmax(-1)

    report = check_op(op, drawn(3, 5), op if beside else None)
    assert report.right, report
    assert "y is not finite at 6 of 15 entries, which are left out" in report.remarks
    (found,) = check_op(
        operator(lambda ctx, x: op(x), lambda ctx, g: g.masked_fill(masked, 0)), drawn(3, 5)
    ).diagnoses
    assert found.startswith("grad_x ")


def test_a_nan_leaves_the_other_entries_to_be_checked() -> None:
    def log(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.log()

    x = torch.tensor([1.0, 2.0, -1.0])
    assert check_op(torch.log, x).right
    assert check_op(operator(log, lambda ctx, g: g * ctx.saved_tensors[0]), x).wrong


# operators that ask for gradients themselves


def forces(x: Tensor) -> Tensor:
    return torch.autograd.grad((x**3).sum(), x, create_graph=True)[0]


def penalty(x: Tensor, weight: Tensor) -> Tensor:
    (slope,) = torch.autograd.grad(((x @ weight) ** 3).sum(), x, create_graph=True)
    return slope.square().sum()


def hooked(x: Tensor) -> Tensor:
    y = 2 * x
    y.register_hook(lambda g: g)
    return y


@pytest.mark.parametrize(
    ("op", "inputs"),
    [(forces, [drawn(3)]), (penalty, [drawn(3, 2), drawn(2)]), (hooked, [drawn(3)])],
)
def test_operators_that_need_gradients_in_their_forward(
    op: Callable[..., Any], inputs: list[Tensor]
) -> None:
    report = check_op(op, inputs)
    assert report.right, report


# inputs of many kinds


class Attributes(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        return self[name]


class Twice(namedtuple("Twice", "a b")):
    def __new__(cls, a: Tensor) -> "Twice":
        return super().__new__(cls, a, a)


@dataclass(frozen=True)
class Pair:
    a: Tensor
    b: Tensor


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        (lambda x: x.t().view(-1) ** 2, [drawn(2, 3).t()]),
        (lambda d: d.x**2, [Attributes(x=drawn(3))]),
        (lambda x, size: x.expand(size) * size.numel(), [drawn(1, 3), torch.Size([2, 3])]),
        (lambda q: q.a * q.b, [Twice(drawn(3))]),
        (lambda pair: pair.a * pair.b, [Pair(drawn(3), 2 * drawn(3))]),
    ],
)
def test_inputs_keep_what_they_are(op: Callable[..., Any], inputs: list[Any]) -> None:
    report = check_op(op, inputs)
    assert report.right, report


def test_the_outputs_in_a_dataclass_are_checked() -> None:
    wrong = operator(double, lambda ctx, g: 3 * g)
    report = check_op(lambda x: (x**2, Pair(2 * x, wrong.apply(x))), drawn(3))
    assert report.wrong


# what a check must survive


def test_a_wrong_gradient_of_an_operator_with_a_domain() -> None:
    """Some slips evaluate the operator elsewhere, where it raises."""

    def forward(ctx: Any, p: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(p, target)
        return F.binary_cross_entropy(p, target, reduction="none")

    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        p, target = ctx.saved_tensors
        return g * (p - target) / p, None

    inputs = drawn(3, 4).sigmoid(), drawn(3, 4).flip(0).sigmoid()
    wrong = operator(forward, backward)
    beside = [None, lambda p, target: F.binary_cross_entropy(p, target, reduction="none")]
    for reference in beside:
        found = check_op(wrong, inputs, reference).diagnoses
        assert [words.split()[0] for words in found] == ["grad_p", "grad_target"]


class OnlyOnce(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        with torch.enable_grad():
            ctx.x = x.detach().requires_grad_()
            ctx.y = ctx.x.sin()
        y: Tensor = ctx.y.detach()
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(ctx.y, ctx.x, g)
        assert isinstance(gradient, Tensor)
        return gradient


def test_a_backward_that_can_run_only_once() -> None:
    report = check_op(OnlyOnce, drawn(3))
    assert report.right, report
    assert any("can run only once" in words for words in report.remarks)


def test_a_module_that_cannot_be_copied_is_left_as_it_was() -> None:
    class Keeps(nn.Linear):
        """Keeps a tensor that autograd has made, as weight_norm does; deepcopy refuses that."""

        def forward(self, x: Tensor) -> Tensor:
            self.kept = super().forward(x)
            return self.kept.sin()

    module = Keeps(2, 2)
    module(drawn(1, 2))
    module.bias.requires_grad_(False)
    assert check_op(module, drawn(2, 2)).right
    asking = {name: p.requires_grad for name, p in module.named_parameters()}
    assert asking == {"weight": True, "bias": False}


def test_nothing_to_check_is_not_right() -> None:
    report = check_op(operator(double, lambda ctx, g: 3 * g), drawn(0, 3))
    assert not report.right
    assert report.unsettled == ("grad_x",)
    assert "the inputs have no entries" in report.remarks


@pytest.mark.parametrize("tolerance", [inf, True, float("nan")])
def test_a_tolerance_that_is_no_finite_number_is_refused(tolerance: Any) -> None:
    with pytest.raises(ValueError, match=f"tolerance={tolerance!r} must be a number above 0"):
        check_op(torch.sin, drawn(3), tolerance=tolerance)


def test_a_forward_that_changes_its_input_unseen() -> None:
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.mul_(2))
        return x.sin()

    def seen(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        return x.mul_(2)

    unseen = operator(forward, lambda ctx, g: 2 * g * ctx.saved_tensors[0].cos())
    words = "the forward changes x in place, and autograd does not know: that takes ctx.mark_dirty"
    assert words in check_op(unseen, drawn(3)).remarks
    assert check_op(operator(seen, lambda ctx, g: 2 * g), drawn(3)).remarks == ()
    assert check_op(lambda x: x.mul_(2), drawn(3)).remarks == ()
