"""Runs a backward pass as others will: for some inputs or outputs, with another grad_output."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from context_agg.gradients.first_derivative import Backward, copied, largest, leaves
from context_agg.gradients.op_call import Differentiable
from context_agg.gradients.precision import SIXTEEN_BITS
from context_agg.gradients.raised import said

MOST_ALONE = 20  # operands, each of which takes two forward passes
SCALE = 1024.0  # of grad_output; a power of 2, which rounds nothing
OTHERS_ARE_NONE = "grad_output of the others is None then"


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
    yield from _in_given_dtype(function, grad_outputs)
    yield from _of_one_output(usual, function.names, grad_outputs, tolerance)
    if tolerance < SIXTEEN_BITS:  # where there is room for other sizes
        yield from _of_other_sizes(usual, function.names, grad_outputs, tolerance)
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
    yield from _of_some_operands(function, usual(grad_outputs), grad_outputs, tolerance)


def unseen_changes(function: Differentiable) -> Iterator[str]:
    """What the forward changes in place without autograd noticing; a running mean may be meant."""
    operands = leaves(function.operands)
    given = copied(operands)
    before = [tensor.grad_fn for tensor in given]
    with torch.enable_grad():
        function(given)
    for name, operand, tensor, node in zip(function.names, operands, given, before, strict=True):
        changed = not torch.allclose(tensor, operand, rtol=0, atol=0, equal_nan=True)
        if changed and tensor.grad_fn is node:
            yield (
                f"the forward changes {name} in place, and autograd does not know: that takes "
                "ctx.mark_dirty"
            )


def _in_given_dtype(function: Differentiable, grad_outputs: Sequence[Tensor]) -> Iterator[str]:
    """Where the backward raises in the dtype of the inputs, if they share one."""
    dtype = function.operands[0].dtype
    if any(operand.dtype != dtype for operand in function.operands):
        return
    operands = [operand.clone().requires_grad_() for operand in function.operands]
    try:
        backward = Backward(function, operands)
    except Exception:  # the forward does not take this dtype, and says so
        return
    try:
        backward([g.to(y) for g, y in zip(grad_outputs, backward.outputs, strict=True)])
    except Exception as error:  # whatever a user's operator raises
        yield f"the backward raised {said(error)} in {dtype}, the dtype of the inputs"


def _of_one_output(
    usual: Backward, names: Sequence[str], grad_outputs: Sequence[Tensor], tolerance: float
) -> Iterator[str]:
    """What differs where one output is used, and grad_output of the others is None, not 0."""
    if len(grad_outputs) < 2:
        return
    for k, g in enumerate(grad_outputs):
        others = [g if i == k else torch.zeros_like(h) for i, h in enumerate(grad_outputs)]
        right = usual(others)
        found = usual([g if i == k else None for i in range(len(grad_outputs))])
        for name, a, b in zip(names, found, right, strict=True):
            if not _agree(a, b, right, tolerance):
                yield f"grad_{name} differs where only y[{k}] is used: {OTHERS_ARE_NONE}"


def _of_other_sizes(
    usual: Backward, names: Sequence[str], grad_outputs: Sequence[Tensor], tolerance: float
) -> Iterator[str]:
    """What differs where grad_output is much larger or smaller, as with another loss."""
    right = usual(grad_outputs)
    for size, words in ((SCALE, f"{SCALE:g} times"), (1 / SCALE, f"1/{SCALE:g}")):
        try:
            found = [gradient / size for gradient in usual([size * g for g in grad_outputs])]
        except Exception as error:  # whatever a user's operator raises
            yield f"the backward raised {said(error)} where grad_output has {words} its size"
            continue
        for name, a, b in zip(names, found, right, strict=True):
            if not _agree(a, b, right, tolerance):
                yield f"grad_{name} is not linear in grad_output: it differs at {words} its size"


def _of_some_operands(
    function: Differentiable,
    usual: Sequence[Tensor],
    grad_outputs: Sequence[Tensor],
    tolerance: float,
) -> Iterator[str]:
    """The gradients of each operand alone, and of all but each."""
    numbers = set(range(len(function.operands)))
    for i, name in list(enumerate(function.names))[:MOST_ALONE] if len(numbers) > 1 else ():
        cases = [({i}, f"where only {name} requires a gradient")]
        if len(numbers) > 2:
            cases.append((numbers - {i}, f"where {name} requires no gradient"))
        for asked, where in cases:
            words = f"{where}: is needs_input_grad read right?"
            operands = [operand.to(torch.float64, copy=True) for operand in function.operands]
            for number in asked:
                operands[number].requires_grad_()
            try:
                backward = Backward(function, operands)
            except Exception:  # a forward that differentiates by an operand itself, for one
                continue
            try:
                found = backward.given(grad_outputs)
            except Exception as error:  # whatever a user's operator raises
                yield f"the backward raised {said(error)} {words}"
                continue
            for number in sorted(asked):
                what, gradient, right = function.names[number], found[number], usual[number]
                if gradient is None and right.any():
                    yield f"grad_{what} is missing {words}"
                elif gradient is not None and not _agree(gradient, right, usual, tolerance):
                    yield f"grad_{what} differs {words}"


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
