"""Operators that a check once took for something else than they are."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import Function

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
