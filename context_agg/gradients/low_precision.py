"""The errors of gradients in float32 and bfloat16, beside the same operator's float64."""

from collections.abc import Sequence

import torch
from torch import Tensor

from context_agg.gradients.diagnosis import relative
from context_agg.gradients.first_derivative import Backward, Cast, draw, leaves
from context_agg.gradients.op_call import Differentiable

ROUNDING = 6e-8  # of float32
CANCELLED = 1e-2  # a gradient that is this much smaller than its terms has lost its digits


def low_errors(
    function: Differentiable,
    dtype: torch.dtype,
    grad_outputs: Sequence[Tensor],
    natural: Sequence[float],
) -> list[float | None]:
    """The largest relative error of each gradient; None if the operator does not take the dtype.

    Inputs and grad_output are rounded first, so the rounding of the arithmetic alone is measured.
    """
    rounded = [operand.to(dtype).double() for operand in function.operands]
    given = [g.to(dtype).double() for g in grad_outputs]
    try:  # the rounded inputs too may be outside the values that the operator is made for
        right = Backward(function, leaves(rounded))(given)
        ours = Backward(Cast(function, dtype), leaves(rounded))(given)
    except Exception:  # whatever a user's operator raises
        return [None] * len(rounded)
    return [
        relative(a, b, CANCELLED * size) for a, b, size in zip(ours, right, natural, strict=True)
    ]


def sensitivity(function: Differentiable, grad_outputs: Sequence[Tensor], number: int) -> float:
    """How far a gradient moves, relatively, if every input is rounded as float32 rounds.

    Infinitely far if that leaves the values which the operator takes.
    """
    operands = [operand.double() for operand in function.operands]
    noise = draw(operands, seed=0)
    moved = [t * (1 + ROUNDING * n) for t, n in zip(operands, noise, strict=True)]
    try:
        before, after = (Backward(function, leaves(at))(grad_outputs) for at in (operands, moved))
    except Exception:  # whatever a user's operator raises outside the values it is made for
        return float("inf")
    return relative(after[number], before[number])
