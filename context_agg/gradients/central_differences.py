"""Central differences of any function, an entry of an operand at a time, and its kinks."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from context_agg.gradients.first_derivative import values_of
from context_agg.gradients.op_call import Differentiable

AT_KINKS = 1e-6  # step of the slopes on both sides
SLACK = 1e-4  # how exactly they are known
UNTOLD = 0.5  # doubts that leave nothing to be said, in units of the largest derivative
STEADY = 0.1  # how far the estimates of a slope may lie apart, in units of the slope


@dataclass(frozen=True)
class Steps:
    """How finite differences are taken in a dtype.

    Attributes:
        sizes: the steps to try, in units of the entry where that is larger than 1.
        noise: what rounding may add to a difference, in units of the outputs.
        agree: how far two estimates may lie apart, in units of the largest derivative.
    """

    sizes: tuple[float, ...]
    noise: float
    agree: float


FINE = Steps((1e-4, 1e-6, 1e-8), noise=4e-15, agree=1e-7)
COARSE = Steps((3e-2, 3e-3), noise=4e-6, agree=1e-3)  # for a function that computes in float32


class Differences:
    """Central differences of a function, an entry of an operand at a time.

    Two steps, one half of the other, are combined so that their errors of second order cancel.

    Attributes:
        operands: the values at which they are taken, float64.
        outputs: the outputs there.
    """

    def __init__(self, function: Differentiable, operands: Sequence[Tensor], steps: Steps) -> None:
        self._function, self._steps = function, steps
        self.operands = [operand.detach() for operand in operands]
        self.outputs = self._call(self.operands)
        self._middle = _flat(self.outputs)

    def derivatives(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives of all outputs by each entry of an operand, their doubts, what is settled.

        An entry is settled if both steps agree and if there is no kink, that is, if the slopes to
        its left and right come together as the step shrinks. What rounding may do does not count;
        the doubt is how far a derivative may be off by it. If other entries are known better, one
        that is hardly known is not settled either.
        """
        entries = self.operands[number].numel()
        result = self._middle.new_zeros(entries, len(self._middle))
        doubt = torch.zeros_like(result)
        spread, kink = result.new_zeros(2, entries)
        settled = torch.zeros(entries, dtype=torch.bool, device=result.device)
        if not result.numel():
            return result, doubt, ~settled
        for size in self._steps.sizes:
            for i in (~settled).nonzero().flatten().tolist():
                result[i], doubt[i], spread[i], kink[i] = self._entry(number, i, size)
            slopes = result.abs().amax(1)
            steady = torch.maximum(spread, kink) < STEADY * slopes  # no jump: that looks steep
            limit = self._steps.agree * float(slopes[steady].max()) if steady.any() else 0.0
            settled = (spread <= limit) & (kink <= limit)  # false for NaN
        vague = doubt.amax(1) > UNTOLD * float(result.abs().max())
        return result, doubt, settled & (vague.all() | ~vague)

    def _entry(self, number: int, i: int, size: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The derivatives by one entry, their doubts, how far two differ, and the kink's size."""
        value = float(self.operands[number].flatten()[i])
        whole = size * max(1.0, abs(value))
        estimates, kinks = [], []
        changes = torch.zeros_like(self._middle, dtype=torch.bool)
        for step in (whole, whole / 2):
            right, left = (self._change(number, i, value + move) for move in (step, -step))
            estimates.append((right - left) / (2 * step))
            kinks.append((right + left).abs() / step)
            changes |= (right != 0) | (left != 0)
        kink = torch.where(kinks[1] > 0.75 * kinks[0], kinks[1], 0)  # else it falls with the step
        best = (4 * estimates[1] - estimates[0]) / 3
        spread = (estimates[0] - estimates[1]).abs()
        noises = torch.where(changes, self._steps.noise / size * self._middle.abs(), 0)
        noise = noises.max()
        apart, bent = (spread.max() - noise).clamp(min=0), (kink.max() - noise).clamp(min=0)
        return best, spread + noises, apart, bent

    def slopes(self, number: int, i: int) -> tuple[Tensor, Tensor] | None:
        """The slopes of all outputs to the left and to the right of an entry.

        None where there are no such slopes, as at a jump.
        """
        value = float(self.operands[number].flatten()[i])
        whole = AT_KINKS * max(1.0, abs(value))
        sides = [
            [self._change(number, i, value + move) / move for move in (to, to / 2)]
            for to in (-whole, whole)
        ]
        scale = max(float(slope.abs().max()) for side in sides for slope in side)
        clear = all(float((a - b).abs().max()) <= SLACK * scale for a, b in sides)
        return (sides[0][1], sides[1][1]) if clear else None

    def is_between_slopes(
        self, number: int, i: int, gradient: float, grad_outputs: Sequence[Tensor]
    ) -> bool:
        """Whether there is a kink at an entry, and a gradient lies between its two slopes."""
        slopes = self.slopes(number, i)
        if slopes is None:
            return False
        both = torch.stack(slopes) * _flat(grad_outputs)
        least, most = float(both.amin(0).sum()), float(both.amax(0).sum())
        slack = SLACK * float(both.abs().sum())
        return most - least > slack and least - slack <= gradient <= most + slack

    def _change(self, number: int, i: int, value: float) -> Tensor:
        """How the outputs change if an entry has another value; NaN where they are not defined."""
        operands = list(self.operands)
        operands[number] = operands[number].clone()  # with its strides, which a view may need
        operands[number][torch.unravel_index(torch.tensor(i), operands[number].shape)] = value
        try:
            moved = _flat(self._call(operands))
        except Exception:  # whatever a user's operator raises outside the values it is made for
            return torch.full_like(self._middle, torch.nan)
        same = (moved == self._middle) | (moved.isnan() & self._middle.isnan())  # infinity too
        return torch.where(same, 0, moved - self._middle)

    def _call(self, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(y.clone() for y in values_of(self._function, operands))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors]).double()
