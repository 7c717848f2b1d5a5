"""Gradients of a function for any grad_output, and these gradients as a function themselves."""

from collections.abc import Sequence

import torch
from torch import Tensor

from context_agg.gradients.op_call import Differentiable


def leaves(operands: Sequence[Tensor]) -> list[Tensor]:
    """Copies of the operands in float64, to differentiate with respect to."""
    return [operand.to(torch.float64, copy=True).requires_grad_() for operand in operands]


def draw(like: Sequence[Tensor], seed: int) -> list[Tensor]:
    """A tensor of N(0, 1) for each of these, float64, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.device) for t in like
    ]


def largest(tensors: Sequence[Tensor]) -> float:
    """The size of the largest entry of all."""
    return max((float(t.detach().abs().max()) for t in tensors if t.numel()), default=0.0)


def copied(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copies of tensors, which autograd follows back to them."""
    return [tensor.clone() for tensor in tensors]


def values_of(function: Differentiable, operands: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs as plain values.

    It is called on copies, as it may write into its inputs, and with gradients on, as it may
    differentiate something itself.
    """
    with torch.enable_grad():
        outputs = function(copied([t.detach().requires_grad_() for t in operands]))
    return tuple(y.detach() for y in outputs)


class Backward:
    """The backward pass of one forward pass.

    Args:
        function: what is called, on copies, as it may write into its inputs.
        operands: the leaves of the forward pass.
        copies: the copies of the leaves to call it on; by default new ones.

    Attributes:
        operands: the leaves of the forward pass.
        outputs: its outputs.
        writes: whether it has changed a grad_output in place.
        runs_once: whether it has raised when it ran again. Then every run has its own forward pass.
    """

    def __init__(
        self,
        function: Differentiable,
        operands: Sequence[Tensor],
        copies: Sequence[Tensor] | None = None,
    ) -> None:
        self.operands = operands
        self.writes = self.runs_once = False
        self._function, self._has_run = function, False
        self._can_repeat = copies is None
        self._run_forward(copied(operands) if copies is None else copies)

    def _run_forward(self, operands: Sequence[Tensor]) -> None:
        with torch.enable_grad():
            self.outputs = self._function(operands)

    def given(self, grad_outputs: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradients as autograd has them: None for what it does not reach.

        Args:
            grad_outputs: a gradient for every output; None for an output that is not used.
        """
        passed = [None if g is None else g.clone() for g in grad_outputs]
        gradients = self.of(passed)
        pairs = zip(passed, grad_outputs, strict=True)
        self.writes |= any(
            a is not None and g is not None and not torch.equal(a, g) for a, g in pairs
        )
        return gradients

    def of(self, grad_outputs: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The same of these very tensors, strides and all; a backward may write into them."""
        if self.runs_once:
            self._run_forward(copied(self.operands))
        try:
            gradients = self._of(grad_outputs)
        except Exception:  # whatever a user's operator raises
            if self.runs_once or not (self._has_run and self._can_repeat):
                raise
            self._run_forward(copied(self.operands))
            gradients = self._of(grad_outputs)
            self.runs_once = True
        self._has_run = True
        return gradients

    def _of(self, grad_outputs: Sequence[Tensor | None]) -> list[Tensor | None]:
        pairs = [
            (y, g)
            for y, g in zip(self.outputs, grad_outputs, strict=True)
            if y.requires_grad and g is not None
        ]
        if not pairs:
            return [None] * len(self.operands)
        outputs, grads = zip(*pairs, strict=True)
        asked = [operand for operand in self.operands if operand.requires_grad]
        found = iter(
            torch.autograd.grad(outputs, asked, grads, retain_graph=True, allow_unused=True)
        )
        return [next(found) if operand.requires_grad else None for operand in self.operands]

    def __call__(self, grad_outputs: Sequence[Tensor | None]) -> list[Tensor]:
        """The gradients; 0 for what autograd does not reach."""
        return [
            torch.zeros_like(leaf) if grad is None else grad.detach().to_dense()
            for grad, leaf in zip(self.given(grad_outputs), self.operands, strict=True)
        ]


class Cast:
    """A function that computes in another dtype; float64 goes in and comes out."""

    def __init__(self, function: Differentiable, dtype: torch.dtype) -> None:
        self._function, self._dtype = function, dtype
        self.names, self.operands = function.names, function.operands

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(y.double() for y in self._function([t.to(self._dtype) for t in tensors]))


class FirstDerivative:
    """The gradients of a function, as a function of its operands and of grad_output."""

    def __init__(self, function: Differentiable, grad_outputs: Sequence[Tensor]) -> None:
        self._function = function
        self._number = len(function.operands)
        self.names = [*function.names, *_numbered("grad_output", len(grad_outputs))]
        self.operands = [*function.operands, *grad_outputs]

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        recorded = torch.is_grad_enabled()
        operands, grad_outputs = list(tensors[: self._number]), tensors[self._number :]
        with torch.enable_grad():
            if not recorded:
                operands = [operand.detach().requires_grad_() for operand in operands]
            outputs = self._function(copied(operands))
            pairs = [(y, g) for y, g in zip(outputs, grad_outputs, strict=True) if y.requires_grad]
            if not pairs:
                return tuple(torch.zeros_like(operand) for operand in operands)
            gradients = torch.autograd.grad(
                [y for y, _ in pairs],
                operands,
                copied([g for _, g in pairs]),
                create_graph=recorded,
                materialize_grads=True,
            )
            return tuple(gradient.to_dense() for gradient in gradients)


def _numbered(name: str, number: int) -> list[str]:
    return [name] if number == 1 else [f"{name}[{i}]" for i in range(number)]
