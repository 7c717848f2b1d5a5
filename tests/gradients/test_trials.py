"""Operators that a check once took for something else than they are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from context_agg.gradients import check_op


def operator(forward: Callable[..., Any], backward: Callable[..., Any]) -> type[Function]:
    """An operator that keeps its inputs, and the backward pass `backward(saved, grad_output)`."""

    class Operator(Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Any:
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return backward(ctx.saved_tensors, g)

    return Operator


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def said(*arguments: Any, **settings: Any) -> list[str]:
    return check_op(*arguments, **settings).diagnoses


def write(saved: tuple[Tensor], g: Tensor) -> Tensor:
    g[saved[0] < 0] = 0
    return g


@pytest.mark.parametrize("reference", [None, lambda x: x.relu() + x])
def test_a_backward_that_writes_into_grad_output(reference: Any) -> None:
    relu = operator(lambda x: x.clamp(min=0), write)
    found = said(lambda x: relu.apply(x) + x, drawn(6), reference)
    assert any("changes grad_output in place" in words for words in found)
    assert any(words.startswith("grad_x") for words in found)  # it is wrong at x < 0, too


def test_a_write_into_grad_output_is_not_taken_for_chance() -> None:
    scale = operator(lambda x, s: x * s, lambda saved, g: ((g * saved[0]).sum(), g.mul_(saved[1])))
    swapped = operator(
        lambda x, s: x * s, lambda saved, g: (g.mul_(saved[1]), (g * saved[0]).sum())
    )
    for op in (scale, swapped):
        assert not any(
            "deterministic" in words for words in said(op, (drawn(6), torch.tensor(0.7)))
        )


def test_a_second_derivative_is_named_by_what_is_wrong_with_it() -> None:
    cube = operator(lambda x: x**3, lambda saved, g: 3 * g * saved[0] * saved[0].detach())
    (words,) = said(cube, drawn(3, 4), second_order=True)
    assert words.startswith("second derivative by input 0 is 2 times too small")


def clamp(backward: Callable[..., Tensor]) -> type[Function]:
    return operator(lambda x: x.clamp(0, 1), lambda saved, g: backward(g, saved[0]))


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (clamp(lambda g, x: g * (x > 0)), "at its upper limit: the mask of a clamp missing?"),
        (clamp(lambda g, x: g * (x < 1)), "where the output is 0: the mask of a ReLU missing?"),
        (clamp(lambda g, x: g.clone()), "at either limit: the mask of a clamp missing?"),
        (clamp(lambda g, x: g * ((x < 0) | (x > 1))), "limit: the mask of a clamp upside down?"),
        (
            operator(lambda x: x * (torch.rand(x.shape) > 0.4) / 0.6, lambda saved, g: g / 0.6),
            "where the output is 0: the mask of a dropout missing?",
        ),
    ],
)
def test_masks_are_named(op: type[Function], words: str) -> None:
    (found,) = said(op, 2 * drawn(5, 6))
    assert found.startswith("grad_input 0 passes grad_output")
    assert words in found


@pytest.mark.parametrize(("by", "words"), [(1.0, "summed"), (0.2, "averaged")])
def test_a_sum_is_told_from_a_mean(by: float, words: str) -> None:
    def backward(saved: tuple[Tensor], g: Tensor) -> Tensor:
        return 2 * by * g.sum(1, keepdim=True).expand_as(g).clone()

    (found,) = said(operator(lambda x: x * 2, backward), drawn(3, 5))
    assert found.startswith(f"grad_input 0 is {words} over axis 1 (")


def test_one_gradient_given_twice_is_not_two_exchanged() -> None:
    inputs = (drawn(3, 4), drawn(3, 4, seed=1))
    once = operator(torch.mul, lambda saved, g: (g * saved[1],) * 2)
    both = operator(torch.mul, lambda saved, g: (g * saved[0], g * saved[1]))
    (found,) = said(once, inputs)
    assert found.startswith("grad_input 1 is the gradient of input 0: given for both?")
    assert all("the two exchanged?" in words for words in said(both, inputs))


def test_a_flip_is_no_kernel() -> None:
    (found,) = said(operator(lambda x: x.flip(2), lambda saved, g: g), drawn(2, 3, 5))
    assert "reversed along axis 2 (" in found


@pytest.mark.parametrize("batch", [2, 16])
def test_all_that_a_number_may_mean_is_told(batch: int) -> None:
    def attention(q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT / 4

    wrong = operator(attention, lambda saved, g: (g @ saved[1], g.mT @ saved[0]))
    for words in said(wrong, (drawn(batch, 5, 16), drawn(batch, 5, 16, seed=1))):
        assert "4 times too large" in words
        assert "axis 2 of input" in words


def test_a_reference_that_autograd_cannot_differentiate_is_refused() -> None:
    for reference in (torch.no_grad()(torch.sigmoid), lambda x: x.detach().sigmoid()):
        with pytest.raises(ValueError, match="the reference's output requires no gradient"):
            check_op(torch.sigmoid, drawn(3), reference)


def test_a_reference_that_does_not_use_an_input_is_named() -> None:
    (found,) = said(torch.mul, (drawn(3), drawn(3, seed=1)), lambda x, w: x * w.detach())
    assert found == "grad_w should be zero: the reference does not use it, or detaches it"


def test_another_class_method_is_not_the_operator() -> None:
    class Product(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
            ctx.p = p
            return x * p

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Any:
            return g * ctx.p, None

        @classmethod
        def triple(cls, x: Tensor) -> Any:
            return cls.apply(x, 3.0)

    assert check_op(Product.triple, drawn(3)).right


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tolerance": "1e-3"}, "tolerance='1e-3' must be a number above 0"),
        ({"device": "gpu"}, "device='gpu' cannot be used here"),
        ({"device": "cuda:99"}, "device='cuda:99' cannot be used here"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_op(torch.exp, drawn(2), **settings)


def test_inputs_that_cannot_be_checked_are_named() -> None:
    with pytest.raises(ValueError, match="nested; only tensors of one shape"):
        check_op(
            torch.sigmoid, torch.nested.nested_tensor([drawn(3), drawn(2)], layout=torch.jagged)
        )
    with pytest.raises(ValueError, match="z is complex"):
        check_op(lambda a, z: z.abs() * a, (drawn(2), torch.randn(2, dtype=torch.complex64)))


def test_sparse_gradients_have_second_derivatives() -> None:
    embedding = nn.Embedding(5, 3, sparse=True)
    report = check_op(embedding, torch.tensor([0, 1]), second_order=True)
    assert report.tensors


class Norm(nn.Module):
    """An RMS norm as language models have it: in float32 inside."""

    def __init__(self, residual: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(drawn(6, seed=2))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
        y: Tensor = self.weight * h.to(x.dtype)
        return x + y if self.residual else y


def softmax_in_float32(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT / 2, -1, dtype=torch.float32).to(q.dtype) @ v


@pytest.mark.parametrize(
    ("op", "inputs"),
    [
        (Norm(residual=False), drawn(3, 6)),
        (Norm(residual=True), drawn(3, 6)),
        (softmax_in_float32, [drawn(2, 5, 4, seed=seed) for seed in range(3)]),
    ],
)
def test_float32_inside_is_no_mistake(op: Any, inputs: Any) -> None:
    report = check_op(op, inputs)
    assert report.right, str(report)
    assert any("computes in float32 inside" in remark for remark in report.remarks)


def test_float32_inside_hides_no_mistake() -> None:
    def backward(saved: tuple[Tensor, Tensor], g: Tensor) -> tuple[Tensor, Tensor]:
        return g * saved[1], 2 * g * saved[0]

    wrong = operator(lambda x, w: (x.float() * w.float()).double(), backward)
    (found,) = said(wrong, (drawn(3, 4), drawn(3, 4, seed=1)))
    assert found.startswith("grad_input 1 is 2 times too large")


def test_sixteen_bits_inside_need_a_reference() -> None:
    def product(x: Tensor, w: Tensor) -> Tensor:
        return (x.bfloat16() @ w.bfloat16()).float()

    inputs = (drawn(3, 4), drawn(4, 2, seed=1))
    with pytest.raises(ValueError, match="give a reference"):
        check_op(product, inputs)
    assert check_op(product, inputs, torch.matmul).right


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]
)
def test_a_mean_loss_in_float32_is_not_accused(seed: int) -> None:
    target = (drawn(1000, 3, seed=100 + seed) > 0).float()

    def loss(x: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(x.float(), target)

    report = check_op(loss, drawn(1000, 3, seed=seed))
    assert report.right, str(report)


def test_a_reference_in_float32_is_no_mistake() -> None:
    def reference(x: Tensor) -> Tensor:
        return torch.softmax(x.float(), -1)

    report = check_op(lambda x: torch.softmax(x, -1), drawn(3, 6), reference)
    assert report.right, str(report)
    assert any("the reference computes in float32 inside" in remark for remark in report.remarks)


def test_a_backward_in_float32_is_no_mistake() -> None:
    class Sigmoid(Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            s = x.sigmoid()
            ctx.save_for_backward(s.float())
            return s

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:
            (s,) = ctx.saved_tensors
            result: Tensor = (g.float() * s * (1 - s)).to(g.dtype)
            return result

    for reference in (None, torch.sigmoid):
        report = check_op(Sigmoid, drawn(3, 6), reference)
        assert report.right, str(report)


def test_operator_and_reference_that_take_float32_only() -> None:
    matrix = drawn(6, 5)
    right = check_op(lambda x: x @ matrix, drawn(3, 6), lambda x: nn.functional.linear(x, matrix.T))
    assert right.right, str(right)


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e5])
def test_a_small_gradient_beside_a_large_one_is_checked(size: float) -> None:
    inputs = (size * drawn(3, 4), drawn(3, 4, seed=1) / size)
    missing = operator(torch.mul, lambda saved, g: (None, g * saved[0]))
    (found,) = said(missing, inputs)
    assert found.startswith("grad_input 0 is missing")
    for by in (-1.0, 1.1):
        wrong = operator(torch.mul, lambda saved, g, by=by: (by * g * saved[1], g * saved[0]))
        (found,) = said(wrong, inputs)
        assert found.startswith("grad_input 0 ")
    assert check_op(
        operator(torch.mul, lambda saved, g: (g * saved[1], g * saved[0])), inputs
    ).right


def test_a_checkpoint_reads_the_same_parameters() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Any:
            def layer(t: Tensor) -> Tensor:
                return torch.tanh(self.linear(t))

            return checkpoint(layer, x, use_reentrant=False)

    report = check_op(Block(), drawn(2, 4))
    assert report.right, str(report)


class Linear(Function):
    """x @ w; its backward asks for the wrong one of needs_input_grad."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, w = ctx.saved_tensors
        return (
            g @ w.T if ctx.needs_input_grad[1] else None,
            x.T @ g if ctx.needs_input_grad[0] else None,
        )


def test_gradients_of_one_input_alone() -> None:
    found = said(Linear, (drawn(3, 4), drawn(4, 2)))
    assert [words.partition(":")[0] for words in found] == [
        "grad_x is missing where only x requires a gradient",
        "grad_w is missing where only w requires a gradient",
    ]


def test_grad_outputs_of_other_strides() -> None:
    flat = operator(
        torch.exp, lambda saved, g: (g.view(-1) * saved[0].exp().view(-1)).view(g.shape)
    )
    (transposed, *_) = said(flat, drawn(3, 4))
    assert "where grad_output is not contiguous, as behind a transpose" in transposed

    def as_stored(saved: tuple[Tensor], g: Tensor) -> Tensor:
        stored = torch.as_strided(g, g.shape, torch.empty(g.shape).stride())
        return stored * saved[0].exp()

    (found, *_) = said(operator(torch.exp, as_stored), drawn(3, 4))
    assert found == (
        "grad_input 0 differs where grad_output is not contiguous, as behind a transpose"
    )


def test_what_is_not_settled_is_not_called_wrong() -> None:
    report = check_op(torch.log, torch.tensor([-2.0, -1.0]))
    assert not report.right
    assert not report.wrong
    assert report.as_json()["unsettled"] == ["grad_input 0"]
    text = str(report)
    assert text.endswith("log is not settled: grad_input 0")
    assert "y is not finite at 2 of 2 entries, which are left out" in text
