"""Names the mistake in a wrong gradient, or says that it is none of the known ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, product

import torch
from torch import Tensor

from context_agg.gradients.convolution_slips import convolution_slips, other_kernel_slips
from context_agg.gradients.detached import detached_slips
from context_agg.gradients.probes import MaskProbe, use_of_grad_output
from context_agg.gradients.slips import (
    Graph,
    Slip,
    factors,
    grad_output_slips,
    gradient_slips,
    operand_slips,
)
from context_agg.gradients.truth import ReferenceTruth, Settled, Truth

UNKNOWN = "is none of the known slips"
MANY = 3  # entries that a factor must fit to be more than a coincidence


class Diagnosis:
    """Explains the wrong ones among the gradients of one backward pass.

    Args:
        names: what the operands are called.
        backward: the backward pass.
        truth: the right gradients.
        graphs: functions with the right gradients, for the slips inside them; gone through only
            if no other slip explains all.
        grad_outputs: the gradients at the outputs.
        tolerance: the largest difference that counts as rounding, in units of the largest entry.
        missing: what it may mean that autograd finds no gradient.
    """

    def __init__(
        self,
        names: Sequence[str],
        backward: Settled,
        truth: Truth,
        graphs: Iterable[Graph],
        grad_outputs: Sequence[Tensor],
        tolerance: float,
        missing: str,
    ) -> None:
        self._names, self._backward, self._truth, self._graphs = names, backward, truth, graphs
        self._grad_outputs, self._tolerance = grad_outputs, tolerance
        self._missing = missing
        self._given = backward.given(grad_outputs)
        self._ours, self._right = backward(grad_outputs), truth(grad_outputs)

    def explain(self, wrong: Sequence[int]) -> dict[int, str]:
        """What is wrong with these gradients, behind "grad_x", by the number of the operand."""
        found = {i: words for i in wrong if (words := self._at_once(i))}
        slips = chain(
            gradient_slips(self._names, self._ours, self._right, self._same),
            grad_output_slips(self._truth, self._grad_outputs),
            self._inside(),
        )
        while len(found) < len(wrong) and (slip := next(slips, None)) is not None:
            for i in set(wrong) - set(found):
                if i in slip.gradients and (fit := self._fit(i, slip)) is not None:
                    found[i] = slip.words + fit
        for i in set(wrong) - set(found):
            found[i] = self._partly(i) or self._unknown(i)
        return found

    def _inside(self) -> Iterator[Slip]:
        """The slips that need the function itself."""
        other_kernels = partial(other_kernel_slips, ours=self._ours)
        makes: tuple[Callable[[Graph, Sequence[Tensor]], Iterator[Slip]], ...] = (
            convolution_slips,
            operand_slips,
            detached_slips,
            other_kernels,
        )
        for make, graph in product(makes, self._graphs):
            try:
                yield from make(graph, self._grad_outputs)
            except Exception:  # whatever a user's operator raises outside its usual values
                continue

    def _at_once(self, i: int) -> str | None:
        """What needs no comparison with a slip."""
        ours = self._ours[i]
        if not ours.isfinite().all():
            return f"is not finite at {int((~ours.isfinite()).sum())} of {ours.numel()} entries"
        if self._given[i] is None:
            return f"is missing: {self._missing}"
        if not torch.any(ours):
            return "is zero everywhere"
        if not torch.any(self._right[i]):
            return f"should be zero: {self._why_zero(i)}"
        use = use_of_grad_output(self._backward, i, self._grad_outputs, self._same)
        if use is not None:
            return use + self._nonlinear(i)
        return self._factor(i) or self._signs(i) or self._masked(i)

    def _why_zero(self, i: int) -> str:
        """What it means that the right gradient is zero."""
        if not isinstance(self._truth, ReferenceTruth):
            return "the output does not change with it, or only in jumps"
        if self._truth.given(self._grad_outputs)[i] is None:
            return "the reference does not use it, or detaches it"
        return "that of the reference is"

    def _nonlinear(self, i: int) -> str:
        """What a gradient that is not linear in grad_output is instead."""
        for slip in grad_output_slips(self._truth, self._grad_outputs):
            if self._same(self._ours[i], slip.gradients[i]):
                return f"; it {slip.words}{self._difference(i, slip.gradients[i])}"
        zero = [torch.zeros_like(g) for g in self._grad_outputs]
        if self._same(self._ours[i] - self._backward(zero)[i], self._right[i]):
            return "; it is right but for that part"
        return ""

    def _factor(self, i: int) -> str | None:
        """Whether the gradient is the right one times a number."""
        right = self._right[i]
        factor = self._times(self._ours[i], right)
        if factor is None:
            return None
        difference = self._difference(i, factor * right)
        if factor == -1:
            return f"has the wrong sign{difference}"
        reasons = self._reasons(i, factor)
        if not reasons and int((right != 0).sum()) < MANY:
            return None
        sign = "has the wrong sign and " if factor < 0 else ""
        return f"{sign}is {_amount(abs(factor))}{reasons}{difference}"

    def _reasons(self, i: int, factor: float) -> str:
        """What may have been forgotten, or counted twice, to be wrong by this factor."""
        known = factors(self._right[i], self._names[i], self._truth.outputs)
        words = [why for size, why in known if abs(abs(factor) - size) <= 1e-6 * size]
        return f": {', or '.join(words)}?" if words else ""

    def _times(self, ours: Tensor, right: Tensor) -> float | None:
        """The number that makes one gradient of the other, if there is one."""
        square = float((right * right).sum())
        factor = float((ours * right).sum()) / square if square else 0.0
        if not factor or not self._same(ours, factor * right):
            return None
        whole = float(round(factor))
        return whole if whole and abs(factor - whole) < 1e-6 else factor

    def _fit(self, i: int, slip: Slip) -> str | None:
        """How a gradient agrees with a slip, perhaps times a number with a meaning."""
        wrong = torch.where(self._truth.settled[i], slip.gradients[i], 0)
        if self._same(wrong, self._right[i]):
            return None  # a slip that changes nothing here
        factor = self._times(self._ours[i], wrong)
        if factor == 1:
            return self._difference(i, wrong)
        if factor is None or not slip.scales or int((wrong != 0).sum()) < MANY:
            return None
        difference = self._difference(i, factor * wrong)
        if factor == -1:
            return f", with the wrong sign{difference}"
        reasons = self._reasons(i, factor)
        sign = "with the wrong sign and " if factor < 0 else ""
        return f", {sign}{_amount(abs(factor))}{reasons}{difference}" if reasons else None

    def _masked(self, i: int) -> str | None:
        probe = MaskProbe(self._backward, self._truth, self._grad_outputs, self._same)
        return probe.explain(i, self._names)

    def _partly(self, i: int) -> str | None:
        """Whether the gradient is zero at some entries and right at all others."""
        away = self._away(i)
        if torch.any(self._ours[i][away]) or not torch.any(away):
            return None
        where = _where(away) or f" at {int(away.sum())} of {away.numel()} entries"
        return f"is zero{where} and right elsewhere"

    def _signs(self, i: int) -> str | None:
        """Whether only signs are wrong."""
        if not self._same(self._ours[i].abs(), self._right[i].abs()):
            return None
        away = self._away(i)
        return f"has the wrong sign at {int(away.sum())} of {away.numel()} entries{_where(away)}"

    def _unknown(self, i: int) -> str:
        """The facts about a gradient that nothing explains."""
        away = self._away(i)
        difference = (self._ours[i] - self._right[i]).abs()
        index = tuple(int(n) for n in torch.unravel_index(difference.argmax(), difference.shape))
        ours, right = float(self._ours[i][index]), float(self._right[i][index])
        return (
            f"{UNKNOWN}; it is wrong at {int(away.sum())} of {away.numel()} entries{_where(away)}, "
            f"most at {list(index)}: {ours:.4g} where {right:.4g} is right"
        )

    def _away(self, i: int) -> Tensor:
        """Where the gradient is wrong."""
        scale = float(self._right[i].abs().max())
        return (self._ours[i] - self._right[i]).abs() > self._tolerance * scale

    def _same(self, ours: Tensor, other: Tensor) -> bool:
        return relative(ours, other) <= self._tolerance

    def _difference(self, i: int, other: Tensor) -> str:
        return f" (relative difference {relative(self._ours[i], other):.0e})"


def relative(ours: Tensor, right: Tensor, least: float = 0.0, doubt: Tensor | float = 0.0) -> float:
    """The largest difference, in units of the largest right entry, or of `least` if that is more.

    A right gradient in which everything cancels, as that of a bias before a batch norm, consists of
    rounding errors; `least` is what they have to be compared with. `doubt` is how far each right
    entry may be off; as much of a difference does not count.
    """
    if not right.numel():
        return 0.0
    difference = float(((ours - right).abs() - doubt).clamp(min=0).max())
    scale = max(float(right.abs().max()), least)
    return difference / scale if scale else (float("inf") if difference else 0.0)


def _amount(factor: float) -> str:
    larger = factor > 1
    times = f"{factor if larger else 1 / factor:.6g}"
    return f"{times} times too {'large' if larger else 'small'}"


def _where(away: Tensor) -> str:
    """The axis along which some indices hold all the wrong entries, if there is one."""
    for axis, size in enumerate(away.shape):
        others = [other for other in range(away.dim()) if other != axis]
        hit = away.any(dim=others) if others else away
        indices = hit.nonzero().flatten().tolist()
        if len(indices) < size:
            shown = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
            return f" at index {shown} of axis {axis}"
    return ""
