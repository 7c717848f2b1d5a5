"""Measures the outputs and gradients of a function, and the gradients of the gradients."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from context_agg.gradients.comparison import Comparison, Findings, beside
from context_agg.gradients.diagnosis import relative
from context_agg.gradients.first_derivative import Backward, Cast, FirstDerivative, draw, leaves
from context_agg.gradients.forward_alone import ForwardAlone
from context_agg.gradients.op_call import Differentiable
from context_agg.gradients.precision import Precision, are_equal, outputs_of, precision_of
from context_agg.gradients.raised import said
from context_agg.gradients.slips import Graph
from context_agg.gradients.truth import DifferenceTruth, ReferenceTruth, Truth, check_size
from context_agg.gradients.usage import OTHERS_ARE_NONE, faults_in_use, unseen_changes

SEED = 1  # of grad_output
SECOND_SEED = 4  # of what the gradients of the gradients are given; not one of the others
NO_GRADIENT = "the backward returns None for it, or the forward detaches it"
WRITES = (
    "the backward changes grad_output in place, which others may be given too: let it change a copy"
)
RUNS_ONCE = (
    "the backward can run only once: it raises the second time, where retain_graph=True allows one"
)
NOT_RECORDED = "autograd did not record the backward, as with once_differentiable, detach or numpy"
NO_REFERENCE = (
    "the reference's output requires no gradient, as with no_grad, detach or numpy: give one that "
    "autograd can differentiate, or none for finite differences"
)
UNSETTLED = (
    "there is a kink (a ReLU at 0, a maximum with two winners), a jump, or a slope that is too "
    "steep for finite differences, or too small beside rounding"
)


class Measurement:
    """Compares a function with another, or with finite differences of itself.

    Args:
        function: the function whose gradients are measured.
        reference: the same function with right gradients, or None.
        tolerance: largest difference that counts as rounding; None for the usual.
        float32_tolerance: the same in float32.

    Attributes:
        found: what was found.
    """

    def __init__(
        self,
        function: Differentiable,
        reference: Differentiable | None,
        tolerance: float | None,
        float32_tolerance: float,
    ) -> None:
        self._function, self._reference = function, reference
        self._tolerance, self._float32_tolerance = tolerance, float32_tolerance
        self.found = Findings()

    def run(self, second_order: bool) -> None:
        """Measures the gradients, and those of the gradients if asked.

        Args:
            second_order: whether to measure second derivatives too.

        Raises:
            ValueError: if the reference raises, or finite differences cannot serve.
        """
        try:
            precision = precision_of(
                self._function,
                self._reference,
                self._tolerance,
                self._float32_tolerance,
            )
            function = precision.function
            backward = Backward(function, leaves(function.operands))
            same = are_equal(outputs_of(function), outputs_of(function))
        except Exception as error:  # whatever a user's operator raises
            self.found.faults.append(f"the forward raised {said(error)}")
            return
        if not backward.outputs:
            self.found.faults.append("there is no floating-point output")
            return
        self.found.remarks += unseen_changes(function)
        if not same:
            self.found.faults.append("the output differs between two calls with the same inputs")
        if precision.why:
            self.found.remarks.append(
                f"{precision.why}; differences below {precision.tolerance:.0e} cannot be told from "
                "rounding"
            )
        truth = self._truth(precision)
        if not self._have_same_shapes(backward, truth):
            return
        grad_outputs = self._grad_outputs(backward, truth)
        if not self._runs(backward, grad_outputs):
            return
        self._compare_outputs(backward, truth, precision.tolerance)
        graphs = self._graphs(truth, function, grad_outputs, precision.tolerance)
        self._compare(precision, backward, truth, grad_outputs, "grad_", NO_GRADIENT, graphs)
        if not self.found.faults and all(tensor.exact for tensor in self.found.tensors):
            self.found.faults += faults_in_use(function, grad_outputs, precision.tolerance)
        if second_order:
            self._compare_second(precision, grad_outputs)

    def _truth(self, precision: Precision) -> Truth:
        """The right gradients.

        Raises:
            ValueError: if the reference raises, or finite differences cannot serve.
        """
        truth: Truth
        if self._reference is not None:
            truth = self._reference_truth(self._reference, precision)
            if truth.outputs and not any(y.requires_grad for y in truth.outputs):
                raise ValueError(NO_REFERENCE)
        elif precision.steps is None:
            raise ValueError("16 bits are too coarse for finite differences: give a reference")
        else:
            check_size(precision.function.operands, outputs_of(precision.function))
            operands = leaves(precision.function.operands)
            truth = DifferenceTruth(precision.function, operands, precision.steps)
        why = UNSETTLED if self._reference is None else "the reference's gradient is not finite"
        is_empty = not any(operand.numel() for operand in truth.operands)
        if is_empty:
            self.found.remarks.append("the inputs have no entries")
        is_vacuous = is_empty or not any(y.isfinite().any() for y in truth.outputs)
        for name, settled in zip(precision.function.names, truth.settled, strict=True):
            if not settled.all():
                number = f"{int((~settled).sum())} of {settled.numel()} entries of {name}"
                self.found.remarks.append(f"{number} are left out: {why}")
            if is_vacuous or (settled.numel() and not settled.any()):
                self.found.unsettled.append(f"grad_{name}")
        return truth

    def _reference_truth(self, reference: Differentiable, precision: Precision) -> ReferenceTruth:
        """The reference's gradients; in float32 if it takes no float64, as the operator does not.

        Raises:
            ValueError: if the reference raises.
        """
        try:
            return ReferenceTruth(reference, leaves(reference.operands))
        except Exception as error:  # whatever a user's reference raises
            if isinstance(precision.function, Cast) and not isinstance(reference, Cast):
                self._reference = Cast(reference, torch.float32)
                return self._reference_truth(self._reference, precision)
            raise ValueError(f"the reference raised {said(error)}") from error

    def _have_same_shapes(self, backward: Backward, truth: Truth) -> bool:
        ours, right = ([tuple(y.shape) for y in of.outputs] for of in (backward, truth))
        if ours != right:
            self.found.faults.append(
                f"the outputs have the shapes {ours}; the reference's have {right}"
            )
        return ours == right

    def _grad_outputs(self, backward: Backward, truth: Truth) -> list[Tensor]:
        """Gradients at the outputs; 0 at those that the function gives as constants."""
        drawn = draw(backward.outputs, SEED)
        if not any(y.requires_grad for y in backward.outputs):
            return drawn  # then it is the gradients that are missing
        for k, (ours, right) in enumerate(zip(backward.outputs, truth.outputs, strict=True)):
            if number := int((~right.isfinite()).sum()):
                drawn[k][~right.isfinite()] = 0  # nothing comes back from where there is no slope
                name = f"y[{k}]" if len(truth.outputs) > 1 else "y"
                where = f"at {number} of {right.numel()} entries"
                self.found.remarks.append(f"{name} is not finite {where}, which are left out")
            if not ours.requires_grad and not right.requires_grad:
                drawn[k].zero_()
                self.found.remarks.append(
                    f"y[{k}] does not require a gradient, so it is taken as a constant"
                )
        return drawn

    def _runs(self, backward: Backward, grad_outputs: Sequence[Tensor]) -> bool:
        """Whether the backward runs; it should do so even where only one output is used."""
        try:
            backward(grad_outputs)
        except Exception as error:  # whatever a user's operator raises
            self.found.faults.append(f"the backward raised {said(error)}")
            return False
        if backward.writes:
            self.found.faults.append(WRITES)
        for k, g in enumerate(grad_outputs):
            try:
                backward([g if i == k else None for i in range(len(grad_outputs))])
            except Exception as error:
                self.found.faults.append(
                    f"the backward raised {said(error)} where only y[{k}] is used: "
                    f"{OTHERS_ARE_NONE}"
                )
        if backward.runs_once:
            self.found.remarks.append(RUNS_ONCE)
        return True

    def _compare_outputs(self, backward: Backward, truth: Truth, tolerance: float) -> None:
        if self._reference is None:
            return
        for k, pair in enumerate(zip(backward.outputs, truth.outputs, strict=True)):
            ours, right = (y.detach().double() for y in pair)
            both = ~ours.isfinite() & torch.isclose(ours, right, equal_nan=True)
            ours, right = (torch.where(both, 0, y) for y in (ours, right))
            name = f"y[{k}]" if len(truth.outputs) > 1 else "y"
            words = "differs from the reference's, so their gradients may differ too"
            self.found.tensors.append(beside(name, ours, right, tolerance, words=words))

    def _graphs(
        self,
        truth: Truth,
        function: Differentiable,
        grad_outputs: Sequence[Tensor],
        tolerance: float,
    ) -> Iterator[Graph]:
        """What has the right gradients and is differentiated by autograd, to find mistakes in.

        That is the reference, and the function's own forward, which shows more of its steps than a
        reference of one call does.
        """
        if isinstance(truth, ReferenceTruth):
            assert self._reference is not None
            yield Graph(self._reference, truth)
        alone = ForwardAlone(function)
        try:
            with warnings.catch_warnings(action="ignore"):  # of operators without a derivative
                backward = Backward(alone, leaves(alone.operands))
                gradients = backward(grad_outputs)
        except Exception:  # a forward that only works inside its autograd.Function
            return
        right, doubt = truth(grad_outputs), truth.doubt(grad_outputs)
        same = all(
            relative(torch.where(known, a, 0), b, doubt=doubtful) <= tolerance
            for known, a, b, doubtful in zip(truth.settled, gradients, right, doubt, strict=True)
        )
        if same:
            yield Graph(alone, backward)

    def _compare(
        self,
        precision: Precision,
        backward: Backward,
        truth: Truth,
        grad_outputs: Sequence[Tensor],
        prefix: str,
        missing: str,
        graphs: Iterable[Graph],
    ) -> None:
        comparison = Comparison(precision, backward, truth, grad_outputs, self._float32_tolerance)
        found = comparison.run(prefix, missing, graphs)
        self.found.tensors += found.tensors
        self.found.faults += found.faults
        self.found.unsettled += found.unsettled
        self.found.remarks += found.remarks

    def _compare_second(self, precision: Precision, grad_outputs: Sequence[Tensor]) -> None:
        """Compares the gradients of the gradients, as those of another function."""
        first = FirstDerivative(precision.function, grad_outputs)
        right = None
        if self._reference is not None:
            right = FirstDerivative(self._reference, grad_outputs)
        second = Measurement(first, right, self._tolerance, self._float32_tolerance)
        second.found = self.found
        try:
            backward = Backward(first, leaves(first.operands))
            seconds = draw(backward.outputs, SECOND_SEED)
            backward(seconds)
        except Exception as error:  # whatever a user's operator raises
            self.found.faults.append(f"the second derivative raised {said(error)}")
            return
        precision = replace(precision, function=first)
        truth, prefix = second._truth(precision), "second derivative by "
        second._compare(precision, backward, truth, seconds, prefix, NOT_RECORDED, ())
