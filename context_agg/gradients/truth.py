"""What a backward pass is measured against: a reference's gradients, or finite differences."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from context_agg.gradients.central_differences import FINE, Differences, Steps
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

    def doubt(self, grad_outputs: Sequence[Tensor]) -> list[Tensor]:
        """How far each entry of the right gradients may be off, as they were measured."""

    def __call__(self, grad_outputs: Sequence[Tensor]) -> list[Tensor]: ...


class ReferenceTruth(Backward):
    """The gradients of a reference, by autograd; 0 where they are not finite."""

    def __init__(self, function: Differentiable, operands: Sequence[Tensor]) -> None:
        super().__init__(function, operands)
        gradients = super().__call__([y.isfinite().to(y.dtype) for y in self.outputs])
        self.settled = [gradient.isfinite() for gradient in gradients]

    def __call__(self, grad_outputs: Sequence[Tensor | None]) -> list[Tensor]:
        gradients = super().__call__(grad_outputs)
        return [torch.where(a, g, 0) for a, g in zip(self.settled, gradients, strict=True)]

    def doubt(self, grad_outputs: Sequence[Tensor]) -> list[Tensor]:
        """None."""
        return [torch.zeros_like(operand) for operand in self.operands]


class DifferenceTruth:
    """Central differences of the function's own outputs; 0 where they are not settled."""

    def __init__(
        self, function: Differentiable, operands: Sequence[Tensor], steps: Steps = FINE
    ) -> None:
        differences = Differences(function, operands, steps)
        self.operands, self.outputs = differences.operands, differences.outputs
        parts = [differences.derivatives(number) for number in range(len(self.operands))]
        self._jacobians = [torch.where(settled[:, None], d, 0) for d, _, settled in parts]
        self._doubts = [torch.where(settled[:, None], doubt, 0) for _, doubt, settled in parts]
        self.settled = [
            settled.view(operand.shape)
            for (*_, settled), operand in zip(parts, self.operands, strict=True)
        ]

    def __call__(self, grad_outputs: Sequence[Tensor]) -> list[Tensor]:
        return self._times(self._jacobians, grad_outputs)

    def doubt(self, grad_outputs: Sequence[Tensor]) -> list[Tensor]:
        """What rounding and the steps may have done to the differences."""
        return self._times(self._doubts, [g.abs() for g in grad_outputs])

    def _times(self, matrices: Sequence[Tensor], grad_outputs: Sequence[Tensor]) -> list[Tensor]:
        flat = torch.cat([g.flatten() for g in grad_outputs])
        return [
            (matrix @ flat).view(operand.shape)
            for matrix, operand in zip(matrices, self.operands, strict=True)
        ]


class Settled:
    """A backward pass, with 0 at the entries whose right gradient is not known."""

    def __init__(self, backward: Backward, settled: Sequence[Tensor]) -> None:
        self._backward, self._settled = backward, settled

    def given(self, grad_outputs: Sequence[Tensor]) -> list[Tensor | None]:
        """The gradients as autograd has them: None for what it does not reach."""
        return self._backward.given(grad_outputs)

    def __call__(self, grad_outputs: Sequence[Tensor]) -> list[Tensor]:
        """The gradients; 0 for what autograd does not reach, too."""
        gradients = self._backward(grad_outputs)
        return [torch.where(a, g, 0) for a, g in zip(self._settled, gradients, strict=True)]


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
