"""How exactly a function can be measured: in float64, unless it does not compute in that."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from context_agg.gradients.central_differences import COARSE, FINE, Steps
from context_agg.gradients.first_derivative import Backward, Cast, draw, leaves, values_of
from context_agg.gradients.narrowing import fewest_bytes
from context_agg.gradients.op_call import Differentiable

EXACT = 1e-9  # largest difference beside a reference, in units of the largest right entry
SETTLED = 1e-6  # the same with finite differences
ROUGH = 1e-2  # the same in float32, as a GPU may round the factors to TF32
SIXTEEN_BITS = 5e-2  # the same where the output has no more
ROUNDED = 1e-15  # what rounding adds to a gradient, in units of the terms that cancel in it
ROUGHLY = 1e-5  # the same in float32
UNNOTICED, NOTICED = 1e-10, 1e-6  # relative changes of the inputs, for float32


@dataclass(frozen=True)
class Precision:
    """A function as it can be measured.

    Attributes:
        function: the function; it takes float64.
        tolerance: largest difference that counts as rounding, in units of the largest right entry.
        rounding: the same in units of the terms that cancel in the gradient.
        steps: how finite differences of it are taken; None if they say nothing.
        why: why it is not measured in float64; empty if it is.
    """

    function: Differentiable
    tolerance: float
    rounding: float
    steps: Steps | None = FINE
    why: str = ""


def precision_of(
    function: Differentiable,
    reference: Differentiable | None,
    tolerance: float | None,
    float32_tolerance: float,
) -> Precision:
    """Finds out in which precision the function computes.

    Args:
        function: the function.
        reference: what it is compared with; None for finite differences.
        tolerance: the tolerance in float64; None for the usual.
        float32_tolerance: the tolerance in float32.

    Raises:
        Exception: what the function itself raises.
    """
    if tolerance is None:
        tolerance = SETTLED if reference is None else EXACT

    in_float32 = max(tolerance, float32_tolerance)
    single = Cast(function, torch.float32)
    try:
        outputs = outputs_of(function)
    except Exception:  # perhaps of the dtype: if not, float32 raises the same
        outputs_of(single)
        why = "the operator does not take float64, so it is measured in float32"
        return Precision(single, in_float32, ROUGHLY, COARSE, why)
    if _backward_raises(function) and not _backward_raises(single):
        why = "the backward does not take float64, so it is measured in float32"
        return Precision(single, in_float32, ROUGHLY, COARSE, why)
    in_sixteen_bits = max(tolerance, SIXTEEN_BITS)
    if any(y.element_size() < 4 for y in outputs):
        why = "the operator gives its output in 16 bits"
        return Precision(function, in_sixteen_bits, ROUGHLY, None, why)
    parties = {"the operator": function} | ({"the reference": reference} if reference else {})
    for party, called in parties.items():
        fewest = fewest_bytes(partial(_both_passes, called))
        if fewest < 4:
            why = f"{party} computes in 16 bits inside"
            return Precision(function, in_sixteen_bits, ROUGHLY, None, why)
        if fewest < 8:
            why = f"{party} computes in float32 inside"
            return Precision(function, in_float32, ROUGHLY, COARSE, why)
    in_single = all(torch.equal(y, y.float().to(y.dtype)) for y in outputs)
    if in_single and _is_coarse(function, outputs):
        why = "the operator does not notice a change of 1e-10: it computes in float32 inside"
        return Precision(function, in_float32, ROUGHLY, COARSE, why)
    return Precision(function, tolerance, ROUNDED)


def _backward_raises(function: Differentiable) -> bool:
    try:
        _both_passes(function)
    except Exception:  # whatever a user's operator raises
        return True
    return False


def _both_passes(function: Differentiable) -> None:
    backward = Backward(function, leaves(function.operands))
    backward(draw(backward.outputs, 0))


def _is_coarse(function: Differentiable, outputs: Sequence[Tensor]) -> bool:
    """Whether these outputs notice a change of 1e-6 of the inputs, but not one of 1e-10."""
    try:
        less, more = (outputs_of(function, by) for by in (UNNOTICED, NOTICED))
    except Exception:  # whatever a user's operator raises outside the values it is made for
        return False
    return are_equal(outputs, less) and not are_equal(outputs, more)


def outputs_of(function: Differentiable, by: float = 0.0) -> tuple[Tensor, ...]:
    """The outputs of the function, with its operands in float64, changed by a factor 1 + `by`."""
    operands = [t.to(torch.float64, copy=True) for t in function.operands]
    return values_of(function, [t * (1 + by) for t in operands])


def are_equal(ours: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether two outputs agree bit by bit."""
    return all(
        torch.allclose(a, b, rtol=0, atol=0, equal_nan=True)
        for a, b in zip(ours, others, strict=True)
    )
