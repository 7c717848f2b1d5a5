"""Runs a backward pass as others will: for one input alone, with grad_output in other strides."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from context_agg.gradients.first_derivative import Backward, largest, leaves
from context_agg.gradients.op_call import Differentiable
from context_agg.gradients.raised import said

MOST_ALONE = 20  # operands, each of which takes a forward pass


def faults_in_use(
    function: Differentiable, grad_outputs: Sequence[Tensor], tolerance: float
) -> Iterator[str]:
    """What goes wrong in a use in which the gradients should stay what they are.

    Args:
        function: the function, whose gradients are right where all operands require one.
        grad_outputs: the gradients at its outputs.
        tolerance: largest difference that counts as rounding, in units of the largest gradient.
    """
    usual = Backward(function, leaves(function.operands))
    transposed = [_transposed(g) for g in grad_outputs]
    ones = [torch.ones_like(g) for g in grad_outputs]
    expanded = [g.new_ones(()).expand(g.shape) for g in grad_outputs]
    for given, others, words in (
        (grad_outputs, transposed, "is not contiguous, as behind a transpose"),
        (ones, expanded, "is expanded, as behind a sum"),
    ):
        try:
            found = usual.of(others)
        except Exception as error:  # whatever a user's operator raises
            yield f"the backward raised {said(error)} where grad_output {words}"
            continue
        right = _dense(usual.given(given))
        for name, a, b in zip(function.names, found, right, strict=True):
            if not _agree(a, b, right, tolerance):
                yield f"grad_{name} differs where grad_output {words}"
    # last, as it may tell the parameters of a module that they require no gradient
    yield from _of_one_operand(function, _dense(usual.given(grad_outputs)), grad_outputs, tolerance)


def _of_one_operand(
    function: Differentiable,
    usual: Sequence[Tensor | None],
    grad_outputs: Sequence[Tensor],
    tolerance: float,
) -> Iterator[str]:
    """The gradient of every operand, with no gradient asked of the others."""
    if len(function.operands) < 2:
        return
    for i, name in list(enumerate(function.names))[:MOST_ALONE]:
        if usual[i] is None:
            continue
        words = f"where only {name} requires a gradient: is needs_input_grad read right?"
        operands = [operand.to(torch.float64, copy=True) for operand in function.operands]
        operands[i].requires_grad_()
        try:
            found = Backward(function, operands).given(grad_outputs)[i]
        except Exception as error:  # whatever a user's operator raises
            yield f"the backward raised {said(error)} {words}"
            continue
        if found is None:
            yield f"grad_{name} is missing {words}"
        elif not _agree(found, usual[i], usual, tolerance):
            yield f"grad_{name} differs {words}"


def _agree(
    ours: Tensor | None, usual: Tensor | None, gradients: Sequence[Tensor | None], tolerance: float
) -> bool:
    """Whether two gradients agree but for rounding, where the usual one is finite."""
    if ours is None or usual is None:
        return ours is usual
    finite = [torch.where(g.isfinite(), g, 0) for g in gradients if g is not None]
    away = torch.where(usual.isfinite(), ours.detach().to_dense() - usual, 0)
    return largest([away]) <= tolerance * largest(finite)


def _dense(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if g is None else g.detach().to_dense() for g in gradients]


def _transposed(g: Tensor) -> Tensor:
    """The same values with other strides."""
    if g.dim() < 2:
        return torch.stack([g, g], -1)[..., 0]
    return g.transpose(0, -1).clone(memory_format=torch.contiguous_format).transpose(0, -1)
