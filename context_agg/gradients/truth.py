"""What a backward pass is measured against: a reference's gradients, or finite differences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from context_agg.gradients.first_derivative import Backward
from context_agg.gradients.op_call import Differentiable

MOST_ENTRIES = 20_000  # of all operands, each of which takes four calls
MOST_PRODUCTS = 20_000_000  # entries of the Jacobian


class Truth(Protocol):
    """The right gradients of a function."""

    @property
    def operands(self) -> Sequence[Tensor]:
        """The values at which they are taken."""

    @property
    def outputs(self) -> Sequence[Tensor]:
        """The right outputs."""

    @property
    def settled(self) -> Sequence[Tensor]:
        """For every operand, the entries whose right gradient is known."""

    def __call__(self, grad_outputs: Sequence[Tensor]) -> list[Tensor]: ...


class ReferenceTruth(Backward):
    """The gradients of a reference, by autograd; 0 where they are not finite."""

    def __init__(self, function: Differentiable, operands: Sequence[Tensor]) -> None:
        super().__init__(function, operands)
        gradients = super().__call__([torch.ones_like(y) for y in self.outputs])
        self.settled = [gradient.isfinite() for gradient in gradients]

    def __call__(self, grad_outputs: Sequence[Tensor | None]) -> list[Tensor]:
        gradients = super().__call__(grad_outputs)
        return [torch.where(a, g, 0) for a, g in zip(self.settled, gradients, strict=True)]


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

    def derivatives(self, number: int, entries: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Derivatives of all outputs by some entries of an operand, and which are settled.

        An entry is settled if both steps agree and if there is no kink, that is, if the slopes to
        its left and right come together as the step shrinks.
        """
        result = self._middle.new_zeros(len(entries), len(self._middle))
        spread, kink = result.new_zeros(2, len(entries))
        settled = torch.zeros(len(entries), dtype=torch.bool, device=result.device)
        if not result.numel():
            return result, ~settled
        largest = float(self._middle.abs().max())
        for size in self._steps.sizes:
            for i in (~settled).nonzero().flatten().tolist():
                result[i], spread[i], kink[i] = self._entry(number, entries[i], size)
            scale = float(result.nan_to_num(0, 0, 0).abs().max())
            limit = self._steps.agree * scale + self._steps.noise * largest / size
            settled = (spread <= limit) & (kink <= limit)  # false for NaN
        return result, settled

    def _entry(self, number: int, i: int, size: float) -> tuple[Tensor, Tensor, Tensor]:
        """The derivatives by one entry, how far two estimates differ, and the size of a kink."""
        value = float(self.operands[number].flatten()[i])
        whole = size * max(1.0, abs(value))
        estimates, kinks = [], []
        for step in (whole, whole / 2):
            above, below = (self._moved(number, i, value + move) for move in (step, -step))
            estimates.append((above - below) / (2 * step))
            kinks.append((above - 2 * self._middle + below).abs() / step)
        kink = torch.where(kinks[1] > 0.75 * kinks[0], kinks[1], 0)  # else it falls with the step
        best = (4 * estimates[1] - estimates[0]) / 3
        return best, (estimates[0] - estimates[1]).abs().max(), kink.max()

    def _moved(self, number: int, i: int, value: float) -> Tensor:
        operands = list(self.operands)
        operands[number] = operands[number].clone(memory_format=torch.contiguous_format)
        operands[number].view(-1)[i] = value
        return _flat(self._call(operands))

    def _call(self, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with torch.no_grad():  # on copies, as the function may write into its inputs
            return tuple(y.clone() for y in self._function([t.clone() for t in operands]))


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([t.flatten() for t in tensors]).double()


class DifferenceTruth:
    """Central differences of the function's own outputs; 0 where they are not settled."""

    def __init__(
        self, function: Differentiable, operands: Sequence[Tensor], steps: Steps = FINE
    ) -> None:
        self._differences = Differences(function, operands, steps)
        self.operands = self._differences.operands
        self.outputs = self._differences.outputs
        parts = [
            self._differences.derivatives(number, range(operand.numel()))
            for number, operand in enumerate(self.operands)
        ]
        self._jacobians = [torch.where(settled[:, None], d, 0) for d, settled in parts]
        self.settled = [
            settled.view(operand.shape)
            for (_, settled), operand in zip(parts, self.operands, strict=True)
        ]

    def __call__(self, grad_outputs: Sequence[Tensor]) -> list[Tensor]:
        flat = torch.cat([g.flatten() for g in grad_outputs])
        return [
            (jacobian @ flat).view(operand.shape)
            for jacobian, operand in zip(self._jacobians, self.operands, strict=True)
        ]


def check_size(operands: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
    """Rejects what finite differences would take too long for.

    Raises:
        ValueError: for too many entries.
    """
    entries = sum(operand.numel() for operand in operands)
    products = entries * sum(y.numel() for y in outputs)
    if entries > MOST_ENTRIES or products > MOST_PRODUCTS:
        raise ValueError(
            f"finite differences of {entries:,} entries take too long: pass smaller inputs, "
            "or a reference"
        )
