"""What a check of an operator has found, and its text."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from context_agg.gradients.agreement import Alignment


@dataclass(frozen=True)
class TensorReport:
    """One tensor of an operator beside the right one.

    Attributes:
        name: "y" or "grad_x".
        exact: whether the difference is rounding.
        difference: largest absolute difference.
        relative: the same in units of the largest right entry.
        alignment: how well the two agree as vectors.
        float32: largest relative error in float32, compared with the operator's own
            float64 at the same rounded inputs; None if it does not compute in float32.
        bfloat16: the same in bfloat16.
        diagnosis: what is wrong, in words; empty if it is exact.
    """

    name: str
    exact: bool
    difference: float
    relative: float
    alignment: Alignment
    float32: float | None = None
    bfloat16: float | None = None
    diagnosis: str = ""


@dataclass(frozen=True)
class OpReport:
    """What `check_op` has found.

    Attributes:
        name: name of the operator.
        against: "its reference" or "finite differences".
        tensors: every output (beside a reference), then the gradient of every floating-point input
            and parameter.
        faults: what else is wrong.
        unsettled: gradients of which no right entry is known.
        remarks: what to know when reading this, and what does not count as a mistake.
    """

    name: str
    against: str
    tensors: tuple[TensorReport, ...] = ()
    faults: tuple[str, ...] = ()
    unsettled: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Whether nothing is wrong, and every gradient is settled."""
        return not self.wrong and not self.unsettled

    @property
    def wrong(self) -> bool:
        """Whether something is wrong."""
        return bool(self.faults) or not all(tensor.exact for tensor in self.tensors)

    @property
    def diagnoses(self) -> list[str]:
        """What is wrong, or not settled, a sentence each."""
        wrong = [f"{t.name} {t.diagnosis}" for t in self.tensors if not t.exact]
        open_ = [
            f"{n} cannot be settled: give a reference, or other inputs" for n in self.unsettled
        ]
        return [*wrong, *self.faults, *open_]

    def as_json(self) -> dict[str, Any]:
        """The report as plain lists and dictionaries; None for what is not a number."""
        tensors = []
        for tensor in self.tensors:
            row = asdict(tensor) | {"alignment": tensor.alignment._asdict()}
            tensors.append({name: _plain(value) for name, value in row.items()})
        return {
            "name": self.name,
            "against": self.against,
            "right": self.right,
            "unsettled": list(self.unsettled),
            "diagnoses": self.diagnoses,
            "remarks": list(self.remarks),
            "tensors": tensors,
        }

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return None if isinstance(value, float) and not isfinite(value) else value


def _lines(report: OpReport) -> Iterator[str]:
    yield f"{report.name} compared with {report.against}, float64"
    if report.tensors:
        yield ""
        yield from _table(report.tensors)
    for label, sentences in (("", report.diagnoses), ("note: ", report.remarks)):
        if sentences:
            yield ""
            yield from (label + sentence for sentence in sentences)
    yield ""
    wrong = [tensor.name for tensor in report.tensors if not tensor.exact]
    names = wrong if report.wrong else report.unsettled
    verdict = "right" if report.right else "WRONG" if report.wrong else "not settled"
    yield f"{report.name} is {verdict}{': ' + ', '.join(names) if names else ''}"


def _table(tensors: tuple[TensorReport, ...]) -> Iterator[str]:
    width = max(len("tensor"), *(len(tensor.name) for tensor in tensors))
    yield (f"{'tensor':<{width}}  exact  largest difference    cosine    norm  signs   error in")
    yield f"{'':<{width}}         absolute relative             ratio         float32 bfloat16"
    for tensor in tensors:
        cosine, ratio, signs = tensor.alignment
        yield (
            f"{tensor.name:<{width}}  {'yes' if tensor.exact else 'NO':<5}  "
            f"{tensor.difference:>8.1e} {tensor.relative:>8.1e}  "
            f"{cosine:>8.4f} {ratio:>7.4f} {signs:>6.3f}  {_error(tensor.float32)}  "
            f"{_error(tensor.bfloat16)}"
        )


def _error(error: float | None) -> str:
    return f"{'-':>7}" if error is None else f"{error:>7.0e}"
