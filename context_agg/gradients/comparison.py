"""Compares the gradients of one backward pass with the right ones, and has wrong ones explained."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite

import torch
from torch import Tensor

from context_agg.gradients.agreement import align
from context_agg.gradients.central_differences import FINE, UNTOLD, Differences
from context_agg.gradients.diagnosis import Diagnosis, relative
from context_agg.gradients.first_derivative import Backward, draw, largest, values_of
from context_agg.gradients.low_precision import low_errors, sensitivity
from context_agg.gradients.op_report import TensorReport
from context_agg.gradients.precision import ROUGH, Precision
from context_agg.gradients.slips import Graph
from context_agg.gradients.truth import ReferenceTruth, Settled, Truth

FEW = 100  # wrong entries that are looked at for kinks
SUBSTANCE = 100  # a gradient that much larger than what rounding can leave of its terms is real
MOST_CANCELLED = 100  # by how much the terms of a gradient that is real may be larger than it
NUDGE, NUDGE_SEED = 1e-3, 3  # of the operands, to see which outputs depend on them
LEFT = 10  # a gradient of less than so many roundings of its terms is one of 0
VAGUE = 1e-3  # a right gradient that may be off by so much, relatively, is worth a word
RANGE = 1e-30, 1e30  # of gradients for which float32 has room


@dataclass
class Findings:
    """What a measurement has found so far.

    Attributes:
        tensors: what was measured, a tensor each.
        faults: what else is wrong.
        unsettled: gradients of which no right entry is known.
        remarks: what is not wrong, but good to know.
    """

    tensors: list[TensorReport] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    unsettled: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Comparison:
    """The gradients of a function beside the right ones.

    Args:
        precision: the function, and how exactly it can be measured.
        backward: its backward pass.
        truth: the right gradients.
        grad_outputs: the gradients at its outputs.
        float32_tolerance: largest error in float32 that counts as rounding.
    """

    def __init__(
        self,
        precision: Precision,
        backward: Backward,
        truth: Truth,
        grad_outputs: Sequence[Tensor],
        float32_tolerance: float,
    ) -> None:
        self._precision, self._truth, self._grad_outputs = precision, truth, grad_outputs
        self._backward = Settled(backward, truth.settled)
        self._float32_tolerance = float32_tolerance
        sent = largest(self._sending())  # before the backward, which a call would seed
        if not sent:  # all outputs are 0: their terms have cancelled too
            sent = MOST_CANCELLED * largest(truth.operands)
        sent *= largest(grad_outputs)
        self._right, self._ours = truth(grad_outputs), self._backward(grad_outputs)
        self._doubt = truth.doubt(grad_outputs)
        self._natural = self._natural_sizes(sent)
        self._found = Findings()

    def run(self, prefix: str, missing: str, graphs: Iterable[Graph]) -> Findings:
        """Compares all gradients.

        Args:
            prefix: what to call a gradient by, before the name of its operand.
            missing: what it may mean that autograd finds no gradient.
            graphs: functions with the right gradients, to find mistakes in.
        """
        names, tolerance = self._precision.function.names, self._precision.tolerance
        least = [self._precision.rounding / tolerance * size for size in self._natural]
        again = self._backward(self._grad_outputs)
        found = []
        for i, (name, ours, right) in enumerate(zip(names, self._ours, self._right, strict=True)):
            report = beside(prefix + name, ours, right, tolerance, least[i], self._doubt[i])
            report = self._excused(i, self._known(i, report))
            found.append(self._repeated(report, relative(again[i], ours, least[i])))
        wrong = [i for i, report in enumerate(found) if not (report.exact or report.diagnosis)]
        if wrong:
            diagnosis = Diagnosis(
                names,
                self._backward,
                self._truth,
                graphs,
                self._grad_outputs,
                tolerance + min(ROUGH, max(map(self._vagueness, wrong))),
                missing,
            )
            for i, words in diagnosis.explain(wrong).items():
                found[i] = replace(found[i], diagnosis=words)
        self._found.tensors = self._in_low_precision(found)
        return self._found

    def _natural_sizes(self, sent: float) -> list[float]:
        """How large each gradient would be if nothing cancelled in it, roughly.

        That is what the outputs send back, in units of the operand; of an operand that is 0, which
        has no unit, it is the largest of all gradients. Where the right gradients are more than
        rounding, nothing that is much larger than they are can have cancelled in them.
        """
        known = [
            (r.abs() - doubt).clamp(min=0)
            for r, doubt in zip(self._right, self._doubt, strict=True)
        ]
        right = largest(known)
        sizes = [largest([operand]) for operand in self._truth.operands]
        least = sent / max(sizes) if any(sizes) else 0.0
        is_real = right > SUBSTANCE * self._precision.rounding * least
        most = MOST_CANCELLED * right if is_real else inf
        return [
            max(largest([own]), min(most, sent / size) if size else right)
            for own, size in zip(known, sizes, strict=True)
        ]

    def _raw(self, i: int) -> Tensor:
        """A gradient as autograd has it, also at the entries whose right one is not known."""
        gradient = self._backward.given(self._grad_outputs)[i]
        return self._ours[i] if gradient is None else gradient

    def _vagueness(self, i: int) -> float:
        """How far the right gradient may be off, in units of its largest entry."""
        right, doubt = largest([self._right[i]]), largest([self._doubt[i]])
        return doubt / right if right else float(doubt > 0)

    def _known(self, i: int, report: TensorReport) -> TensorReport:
        """Says of a gradient that agrees how little that means, if the right one is vague."""
        vague, rounding = self._vagueness(i), LEFT * self._precision.rounding * self._natural[i]
        if not report.exact or largest([self._ours[i]]) <= rounding:
            return report
        if vague > UNTOLD:
            self._found.unsettled.append(report.name)
        if vague > VAGUE:
            self._found.remarks.append(
                f"{report.name} is known only to within {vague:.0e} of its size: the outputs are "
                "too large for finite differences of their changes"
            )
        return report

    def _sending(self) -> list[Tensor]:
        """The finite outputs that depend on an operand; all of the finite if none does."""
        outputs = [y.detach()[y.isfinite()] for y in self._truth.outputs]
        noise = draw(self._truth.operands, NUDGE_SEED)
        pairs = zip(self._truth.operands, noise, strict=True)
        nudged = [(t + NUDGE * largest([t]) * n).detach() for t, n in pairs]
        try:
            moved = values_of(self._precision.function, nudged)
        except Exception:  # whatever a user's operator raises outside the values it is made for
            return outputs
        depending = [
            y.detach()[y.isfinite() & (y != other)]
            for y, other in zip(self._truth.outputs, moved, strict=True)
        ]
        return depending if any(y.numel() for y in depending) else outputs

    def _excused(self, i: int, report: TensorReport) -> TensorReport:
        """Takes back what differs at kinks only, where the reference is no more right."""
        fine = self._precision.steps is FINE
        if report.exact or not fine or not isinstance(self._truth, ReferenceTruth):
            return report
        ours, right = self._ours[i], self._right[i]
        near = (ours - right).abs() <= self._precision.tolerance * right.abs().max()
        entries = (~near).flatten().nonzero().flatten().tolist()  # NaN is not near
        if len(entries) > FEW:
            return report
        differences = Differences(self._precision.function, self._truth.operands, FINE)
        for entry in entries:
            gradient = float(ours.flatten()[entry])
            if not differences.is_between_slopes(i, entry, gradient, self._grad_outputs):
                return report
        self._found.remarks.append(
            f"{report.name} differs from the reference's at {len(entries)} entries, where the "
            "output has a kink and either may be right"
        )
        return replace(report, exact=True)

    def _repeated(self, report: TensorReport, apart: float) -> TensorReport:
        """Says of a gradient how far those of two backward passes lie apart."""
        if apart > self._precision.tolerance:
            words = f"is not deterministic: two backward passes lie {apart:.0e} apart"
            return replace(report, exact=False, diagnosis=words)
        if apart > 0:
            self._found.remarks.append(
                f"{report.name} differs by {apart:.0e} between two backward passes: sums in "
                "another order"
            )
        return report

    def _in_low_precision(self, found: Sequence[TensorReport]) -> list[TensorReport]:
        """Adds the errors in float32 and bfloat16."""
        function = self._precision.function
        single, half = (
            low_errors(function, dtype, self._grad_outputs, self._natural)
            for dtype in (torch.float32, torch.bfloat16)
        )
        for i, (report, error) in enumerate(zip(found, single, strict=True)):
            if error is None or not report.exact or error <= self._float32_tolerance:
                continue
            if not RANGE[0] < largest([self._right[i]]) < RANGE[1]:
                self._found.remarks.append(f"{report.name} is too small or too large for float32")
            elif 10 * sensitivity(function, self._grad_outputs, i) < error < float("inf"):
                words = f"is wrong by {error:.0e} in float32, though not in float64"
                self._found.faults.append(f"{report.name} {words}")
            elif not isfinite(error):
                if not self._raw(i).isfinite().all():
                    continue  # as in float64
                words = "is not finite in float32, whose range the operator leaves on the way"
                self._found.remarks.append(f"{report.name} {words}")
            else:
                words = f"is ill-conditioned: its error in float32 is {error:.0e}"
                self._found.remarks.append(f"{report.name} {words}")
        return [
            replace(report, float32=single[i], bfloat16=half[i]) for i, report in enumerate(found)
        ]


def beside(
    name: str,
    ours: Tensor,
    right: Tensor,
    tolerance: float,
    least: float = 0.0,
    doubt: Tensor | float = 0.0,
    words: str = "",
) -> TensorReport:
    """Compares one tensor.

    Args:
        name: what it is called.
        ours: the tensor.
        right: what it should be.
        tolerance: largest difference that counts as rounding.
        least: the smallest unit of differences.
        doubt: how far each entry of what it should be may be off.
        words: what to say if it differs.
    """
    difference = float((ours - right).abs().max()) if ours.numel() else 0.0
    exact = relative(ours, right, least, doubt) <= tolerance
    found = TensorReport(name, exact, difference, relative(ours, right, least), align(ours, right))
    return found if exact else replace(found, diagnosis=words)
