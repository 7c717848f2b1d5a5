"""What `check_op` and torch.autograd.gradcheck each say of the same backward passes."""

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function, gradcheck

from context_agg.gradients import check_op
from context_agg.ops import CONV_OPS

Functions = Callable[..., Any]


def backward_of(forward: Functions, backward: Functions, zeros: bool = True) -> Functions:
    """A function whose backward is (grad_output, *inputs) -> gradients.

    Where an output is not used, its grad_output is 0, or None if `zeros` is false.
    """

    class Layer(Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Tensor) -> Any:
            ctx.set_materialize_grads(zeros)
            ctx.save_for_backward(*inputs)
            return forward(*inputs)

        @staticmethod
        def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
            return backward(*grad_outputs, *ctx.saved_tensors)

    function: Functions = Layer.apply
    return function


def draw(*shape: int) -> Tensor:
    """N(0, 1), float64."""
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class Case:
    """A backward pass to be judged.

    Attributes:
        op: the function.
        inputs: makes its inputs.
        reference: the same function with right gradients, or None for finite differences.
        right: whether its gradients are right.
        second: whether `check_op` is asked for second derivatives, as gradcheck cannot be.
    """

    op: Functions
    inputs: Callable[[], list[Any]]
    reference: Functions | None = None
    right: bool = False
    second: bool = False


def varying(g: Tensor, x: Tensor) -> Tensor:
    """A right gradient with a rounding error that is never the same."""
    return 3 * g * (1 + 1e-15 * torch.randn(()).double())


def undilated(x: Tensor, weight: Tensor) -> Tensor:
    """The rule `undilated_grad_weight`, at dilation 2."""
    return CONV_OPS["undilated_grad_weight"](x, weight, None, 2)


def dilated(x: Tensor, weight: Tensor) -> Tensor:
    """The same with right gradients."""
    return F.conv2d(x, weight, padding=2, dilation=2)


def needing(*tensors: Tensor) -> list[Any]:
    """What gradcheck needs: tensors that require a gradient."""
    return [tensor.requires_grad_() for tensor in tensors]


def dependent() -> list[Any]:
    """Two inputs, the second three times the first."""
    (x,) = needing(draw(4))
    return [x, 3 * x]


CASES = {
    "bias: the gradient of the first row only": Case(
        backward_of(lambda x, b: x + b, lambda g, x, b: (g, g[0])),
        lambda: needing(draw(5, 3), draw(3)),
    ),
    "loss: a mean, and the gradient of the sum": Case(
        backward_of(lambda x: (x**2).mean(), lambda g, x: 2 * g * x), lambda: needing(draw(5, 3))
    ),
    "sigmoid: grad_output forgotten": Case(
        backward_of(torch.sigmoid, lambda g, x: x.sigmoid() * (1 - x.sigmoid())),
        lambda: needing(draw(5, 3)),
    ),
    "ReLU: no mask": Case(backward_of(torch.relu, lambda g, x: g), lambda: needing(draw(5, 3))),
    "convolution: dilation forgotten in grad_weight": Case(
        undilated, lambda: needing(draw(1, 2, 7, 7), draw(2, 2, 3, 3)), dilated
    ),
    "product: a factor without a gradient": Case(
        backward_of(torch.mul, lambda g, x, w: (g * w, None)), lambda: [*needing(draw(5)), draw(5)]
    ),
    "wrong in float32 only": Case(
        backward_of(torch.sin, lambda g, x: g * x.cos() + (0.1 if x.dtype == torch.float32 else 0)),
        lambda: needing(draw(5)),
    ),
    "wrong second derivative": Case(
        backward_of(torch.sin, lambda g, x: g * x.detach().cos()),
        lambda: needing(draw(5)),
        second=True,
    ),
    "random numbers in the backward": Case(
        backward_of(torch.sin, lambda g, x: g * x.cos() + 1e-3 * torch.randn_like(x)),
        lambda: needing(draw(5)),
    ),
    "two outputs: fails if only one is used": Case(
        backward_of(lambda x: (x.sin(), x.cos()), lambda g, h, x: g * x.cos() - h * x.sin(), False),
        lambda: needing(draw(5)),
    ),
    "right, inputs in float32": Case(torch.tanh, lambda: needing(draw(5, 3).float()), right=True),
    "right, one input computed from the other": Case(torch.dot, dependent, right=True),
    "right, ReLU at exactly 0": Case(
        torch.relu, lambda: needing(torch.tensor([0.0, 1.0, -1.0]).double()), right=True
    ),
    "right, but for rounding that varies": Case(
        backward_of(lambda x: 3 * x, varying), lambda: needing(draw(5)), right=True
    ),
    "right, an expanded input": Case(
        torch.sin, lambda: needing(draw(1, 3).expand(4, 3)), right=True
    ),
}


def judged_by_gradcheck(case: Case) -> str:
    """The first words of gradcheck's message, or "passes"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of float32 inputs
        try:
            gradcheck(case.op, case.inputs())
        except Exception as error:  # also what a backward itself raises
            message = " ".join(str(error).split())
            return f"rejects: {re.split('[,:.] ', message)[0]}"
    return "passes"


def judged_by_check_op(case: Case) -> str:
    """What `check_op` says first, without numbers, or "right"."""
    report = check_op(case.op, case.inputs(), case.reference, second_order=case.second)
    if report.right:
        return "right"
    first, *others = report.diagnoses
    words = first.partition(" (relative")[0]
    return f"WRONG: {words}" + f"; {len(others)} more" * bool(others)


def measure_checkers() -> Iterator[list[str]]:
    """A row per case."""
    yield ["case", "gradcheck", "check_op"]
    for name, case in CASES.items():
        torch.manual_seed(0)
        yield [name, judged_by_gradcheck(case), judged_by_check_op(case)]
