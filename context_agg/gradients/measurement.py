"""Measures the gradients of a function against the right ones."""

import re
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from context_agg.gradients.agreement import align
from context_agg.gradients.diagnosis import Diagnosis, Graph, relative
from context_agg.gradients.first_derivative import Backward, Cast, FirstDerivative, draw, leaves
from context_agg.gradients.low_precision import low_errors, sensitivity
from context_agg.gradients.op_call import Differentiable
from context_agg.gradients.op_report import TensorReport
from context_agg.gradients.truth import (
    COARSE,
    FINE,
    Differences,
    DifferenceTruth,
    ReferenceTruth,
    Truth,
    check_size,
)

EXACT = 1e-9  # largest difference beside a reference, in units of the largest right entry
SETTLED = 1e-6  # the same beside finite differences
ROUGH = 1e-2  # the same in float32, as a GPU may round the factors to TF32
ROUNDED = 1e-15  # what rounding adds to a gradient, in units of the terms that cancel in it
STEPPED = 1e-9  # the same of finite differences
MOVE = 1e-10  # of the inputs, relative; float32 does not notice it
FEW = 100  # wrong entries that are looked at for kinks
SEED = 1  # of grad_output
NO_GRADIENT = "the backward returns None for it, or the forward detaches it"
NOT_RECORDED = "autograd did not record the backward, as with once_differentiable, detach or numpy"


class Measurement:
    """Measures a function beside another, or beside finite differences of itself.

    Args:
        function: the function whose gradients are measured.
        reference: the same function with right gradients, or None.
        tolerance: largest difference that counts as rounding; None for the usual.
        float32_tolerance: the same in float32.

    Attributes:
        tensors: what was measured, a tensor each.
        faults: what else is wrong.
        remarks: what is not wrong, but good to know.
    """

    def __init__(
        self,
        function: Differentiable,
        reference: Differentiable | None,
        tolerance: float | None,
        float32_tolerance: float,
    ) -> None:
        self._function, self._reference = function, reference
        usual = SETTLED if reference is None else EXACT
        self._tolerance = usual if tolerance is None else tolerance
        self._rounding = ROUNDED if reference is not None else STEPPED
        self._float32_tolerance = float32_tolerance
        self._steps = FINE
        self.tensors: list[TensorReport] = []
        self.faults: list[str] = []
        self.remarks: list[str] = []

    def run(self, alone: Differentiable | None, second_order: bool) -> None:
        """Measures the gradients, and those of the gradients if asked.

        Args:
            alone: the function as autograd would differentiate it, if there is such a thing beside
                a reference; only for finding mistakes, not for what is right.
            second_order: whether to measure second derivatives too.
        """
        try:
            self._choose_precision()
            backward = Backward(self._function, leaves(self._function.operands))
        except Exception as error:  # whatever a user's operator raises
            self.faults.append(f"the forward raised {_said(error)}")
            return
        if not backward.outputs:
            self.faults.append("there is no floating-point output")
            return
        truth = self._truth()
        if not self._compare_outputs(backward, truth):
            return
        grad_outputs = draw(backward.outputs, SEED)
        try:
            backward(grad_outputs)
        except Exception as error:
            self.faults.append(f"the backward raised {_said(error)}{_hint(error)}")
            return
        self._use_each_output(backward, grad_outputs)
        self._compare(backward, truth, alone, grad_outputs)
        if second_order:
            self._compare_second(grad_outputs)

    def _choose_precision(self) -> None:
        """Takes float64 unless the function cannot, or does not, compute in it."""
        operands = [operand.to(torch.float64) for operand in self._function.operands]
        with torch.no_grad():
            try:
                outputs = self._function([t.clone() for t in operands])
            except Exception:
                self._function = Cast(self._function, torch.float32)
                outputs = self._function(operands)
                self._be_coarse("does not take float64, so it is measured in float32")
                return
            again = self._function([t.clone() for t in operands])
            moved = self._function([t * (1 + MOVE) for t in operands])
        if not all(map(torch.equal, outputs, again)):
            self.faults.append("the output differs between two calls with the same inputs")
        elif all(map(torch.equal, outputs, moved)) and any(map(torch.any, operands)):
            self._be_coarse("does not notice a change of 1e-10: it computes in float32 inside")

    def _be_coarse(self, why: str) -> None:
        self._steps, self._rounding = COARSE, 1e-5
        self._tolerance = max(self._tolerance, self._float32_tolerance)
        self.remarks.append(
            f"the operator {why}; differences below {self._tolerance:.0e} cannot be told from "
            "rounding"
        )

    def _truth(self) -> Truth:
        """The right gradients.

        Raises:
            ValueError: if the reference raises, or there is too much for finite differences.
        """
        truth: Truth
        if self._reference is not None:
            try:
                truth = ReferenceTruth(self._reference, leaves(self._reference.operands))
            except Exception as error:  # whatever a user's reference raises
                raise ValueError(f"the reference raised {_said(error)}") from error
            why = "the reference's own gradient is not finite"
        else:
            operands = leaves(self._function.operands)
            with torch.no_grad():
                check_size(operands, self._function([t.detach().clone() for t in operands]))
            truth = DifferenceTruth(self._function, operands, self._steps)
            why = (
                "there is a kink (a ReLU at 0, a maximum with two winners), a jump, or too steep "
                "a slope for finite differences"
            )
        for name, settled in zip(self._function.names, truth.settled, strict=True):
            if not settled.all():
                number = f"{int((~settled).sum())} of {settled.numel()} entries of {name}"
                self.remarks.append(f"{number} are left out: {why}")
            if settled.numel() and not settled.any():
                self.faults.append(
                    f"grad_{name} cannot be settled: give a reference, or other inputs"
                )
        return truth

    def _compare_outputs(self, backward: Backward, truth: Truth) -> bool:
        """Adds the outputs; false if they do not even have the reference's shapes."""
        shapes, right = ([tuple(y.shape) for y in of.outputs] for of in (backward, truth))
        if shapes != right:
            self.faults.append(
                f"the outputs have the shapes {shapes}; the reference's have {right}"
            )
            return False
        if self._reference is not None:
            names = _output_names(len(shapes))
            for name, y, expected in zip(names, backward.outputs, truth.outputs, strict=True):
                found = _report(name, y.detach(), expected.detach(), self._tolerance)
                words = "differs from the reference's, so their gradients may differ too"
                self.tensors.append(found if found.exact else replace(found, diagnosis=words))
        return True

    def _use_each_output(self, backward: Backward, grad_outputs: Sequence[Tensor]) -> None:
        """Finds a backward that needs a gradient at every output, as when a loss uses but one."""
        for k, g in enumerate(grad_outputs):
            try:
                backward([g if i == k else None for i in range(len(grad_outputs))])
            except Exception as error:  # whatever a user's operator raises
                self.faults.append(
                    f"the backward raised {_said(error)} where only y[{k}] is used: "
                    "grad_output of the others is None then"
                )

    def _compare(
        self,
        backward: Backward,
        truth: Truth,
        alone: Differentiable | None,
        grad_outputs: Sequence[Tensor],
        prefix: str = "grad_",
        missing: str = NO_GRADIENT,
    ) -> None:
        names = self._function.names
        right, ours = truth(grad_outputs), backward(grad_outputs)
        ours = [torch.where(known, a, 0) for known, a in zip(truth.settled, ours, strict=True)]
        natural = _natural_sizes(truth, right, grad_outputs)
        rounding = self._rounding / self._tolerance if self._tolerance else 0.0
        found = [
            _report(prefix + name, a, b, self._tolerance, rounding * size)
            for name, a, b, size in zip(names, ours, right, natural, strict=True)
        ]
        found = [self._excuse(i, report, ours[i], right[i]) for i, report in enumerate(found)]
        again = backward(grad_outputs)
        for i, known in enumerate(truth.settled):
            apart = relative(torch.where(known, again[i], 0), ours[i], rounding * natural[i])
            found[i] = self._repeated(found[i], apart)
        wrong = [i for i, report in enumerate(found) if not (report.exact or report.diagnosis)]
        if wrong:
            graph = self._graph(truth, alone, grad_outputs)
            diagnosis = Diagnosis(
                names, backward, truth, graph, grad_outputs, self._tolerance, missing
            )
            for i, words in diagnosis.explain(wrong).items():
                found[i] = replace(found[i], diagnosis=words)
        self.tensors += self._in_low_precision(found, grad_outputs, natural)

    def _repeated(self, report: TensorReport, apart: float) -> TensorReport:
        """Says of a gradient how far those of two backward passes lie apart."""
        if apart > self._tolerance:
            words = f"is not deterministic: two backward passes lie {apart:.0e} apart"
            return replace(report, exact=False, diagnosis=words)
        if apart > 0:
            self.remarks.append(
                f"{report.name} differs by {apart:.0e} between two backward passes: sums in "
                "another order"
            )
        return report

    def _excuse(self, i: int, report: TensorReport, ours: Tensor, right: Tensor) -> TensorReport:
        """Takes back what lies on kinks only, where the reference is no more right."""
        if report.exact or self._reference is None:
            return report
        scale = float(right.abs().max())
        away = ((ours - right).abs() > self._tolerance * scale).flatten().nonzero().flatten()
        if len(away) > FEW:
            return report
        differences = Differences(self._function, self._function.operands, self._steps)
        _, settled = differences.derivatives(i, away.tolist())
        if settled.any():
            return report
        self.remarks.append(
            f"{report.name} differs from the reference's at {len(away)} entries, where the output "
            "has a kink and either may be right"
        )
        return replace(report, exact=True)

    def _graph(
        self, truth: Truth, alone: Differentiable | None, grad_outputs: Sequence[Tensor]
    ) -> Graph | None:
        """The function as autograd differentiates it, if it is the same function."""
        if isinstance(truth, ReferenceTruth):
            assert self._reference is not None
            return Graph(self._reference, truth)
        if alone is None:
            return None
        try:
            backward = Backward(alone, leaves(alone.operands))
            candidates = backward(grad_outputs)
        except Exception:  # a forward that only works inside its autograd.Function
            return None
        right = truth(grad_outputs)
        same = all(
            relative(torch.where(known, a, 0), b) <= self._tolerance
            for known, a, b in zip(truth.settled, candidates, right, strict=True)
        )
        return Graph(alone, backward) if same else None

    def _in_low_precision(
        self, found: Sequence[TensorReport], grad_outputs: Sequence[Tensor], natural: list[float]
    ) -> list[TensorReport]:
        """Adds the errors in float32 and bfloat16."""
        single, brain = (
            low_errors(self._function, dtype, grad_outputs, natural)
            for dtype in (torch.float32, torch.bfloat16)
        )
        for i, (report, error) in enumerate(zip(found, single, strict=True)):
            if error is None or not report.exact or error <= self._float32_tolerance:
                continue
            if 10 * sensitivity(self._function, grad_outputs, i) < error < float("inf"):
                words = f"is wrong by {error:.0e} in float32, though not in float64"
                self.faults.append(f"{report.name} {words}")
            else:
                words = f"is ill-conditioned: its error in float32 is {error:.0e}"
                self.remarks.append(f"{report.name} {words}")
        return [
            replace(report, float32=single[i], bfloat16=brain[i]) for i, report in enumerate(found)
        ]

    def _compare_second(self, grad_outputs: Sequence[Tensor]) -> None:
        first = FirstDerivative(self._function, grad_outputs)
        right = None
        if self._reference is not None:
            right = FirstDerivative(self._reference, grad_outputs)
        second = Measurement(first, right, self._tolerance, self._float32_tolerance)
        second._steps, second._rounding = self._steps, self._rounding
        try:
            backward = Backward(first, leaves(first.operands))
            seconds = draw(backward.outputs, SEED + 1)
            backward(seconds)
        except Exception as error:  # whatever a user's operator raises
            self.faults.append(f"the second derivative raised {_said(error)}")
            return
        second._compare(
            backward, second._truth(), None, seconds, "second derivative by ", NOT_RECORDED
        )
        self.tensors += second.tensors
        self.faults += second.faults
        self.remarks += second.remarks


def _natural_sizes(
    truth: Truth, right: Sequence[Tensor], grad_outputs: Sequence[Tensor]
) -> list[float]:
    """How large each gradient would be if nothing cancelled in it, roughly."""

    def largest(tensors: Sequence[Tensor]) -> float:
        return max((float(t.detach().abs().max()) for t in tensors if t.numel()), default=0.0)

    all_of_it, sent = largest(right), largest(truth.outputs) * largest(grad_outputs)
    sizes = [largest([operand]) for operand in truth.operands]
    return [max(all_of_it, sent / size if size else 0.0) for size in sizes]


def _report(
    name: str, ours: Tensor, right: Tensor, tolerance: float, least: float = 0.0
) -> TensorReport:
    away = relative(ours, right, least)
    difference = float((ours - right).abs().max()) if ours.numel() else 0.0
    return TensorReport(name, away <= tolerance, difference, away, align(ours, right))


def _output_names(number: int) -> list[str]:
    return ["y"] if number == 1 else [f"y[{i}]" for i in range(number)]


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _hint(error: Exception) -> str:
    """What to say of a gradient of the wrong shape, which autograd refuses."""
    shapes = re.search(r"got \[([\d, ]*)\] but expected .*\[([\d, ]*)\]", str(error))
    if shapes and sorted(shapes[1].split(", ")) == sorted(shapes[2].split(", ")):
        return ": its axes are exchanged"
    return ""
