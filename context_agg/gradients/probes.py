"""What a backward pass does with grad_outputs that are chosen to find something out."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from context_agg.gradients.first_derivative import draw
from context_agg.gradients.slips import Same
from context_agg.gradients.truth import Settled, Truth

ANOTHER_SEED = 2


def use_of_grad_output(
    backward: Settled, number: int, grad_outputs: Sequence[Tensor], same: Same
) -> str | None:
    """What is wrong with how one gradient depends on grad_output; None if it is linear in it."""

    def given(grads: Sequence[Tensor]) -> Tensor:
        return backward(grads)[number]

    zero, once = given([torch.zeros_like(g) for g in grad_outputs]), given(grad_outputs)
    other = given(draw(grad_outputs, ANOTHER_SEED))
    if not torch.any(once):
        return None
    if same(once, other):
        return "does not use grad_output"
    if torch.any(zero):
        return "has a part that does not depend on grad_output: it is not 0 where grad_output is 0"
    double = given([2 * g for g in grad_outputs])
    if same(double, once):
        return "does not grow with grad_output"
    if same(double, 4 * once):
        return "grows with the square of grad_output"
    total = given(
        [g + h for g, h in zip(grad_outputs, draw(grad_outputs, ANOTHER_SEED), strict=True)]
    )
    if not same(total, once + other):
        return "is not linear in grad_output"
    return None


class MaskProbe:
    """Looks for a mistake in the mask of a ReLU, a dropout or a clamp.

    The right gradient takes nothing from where such an output is 0, or at its limit. grad_output
    is set to zero there, and then everywhere else, to see what the gradient takes.
    """

    def __init__(
        self, backward: Settled, truth: Truth, grad_outputs: Sequence[Tensor], same: Same
    ) -> None:
        self._backward, self._truth, self._same = backward, truth, same
        self._grad_outputs = grad_outputs

    def explain(self, number: int, names: Sequence[str]) -> str | None:
        """What is wrong with the mask in this gradient; None if no mask explains it."""
        y = self._truth.outputs[0].detach()
        for region, words in self._regions(number):
            is_zero = not torch.any(y[region])
            if is_zero and (source := self._source(number, region, names)):
                return f"takes the mask of the output from {source}"
            leaks = bool(torch.any(self._ours(number, region)))
            if leaks and not torch.any(self._ours(number, ~region)):
                return f"passes grad_output only {words} upside down?"
            if leaks and self._is_right(number, ~region):
                return f"passes grad_output {words} missing?"
        return None

    def _regions(self, number: int) -> Iterator[tuple[Tensor, str]]:
        """Where the output is at a limit through which nothing comes back."""
        y = self._truth.outputs[0].detach()
        if y.numel():
            least, most = y == y.min(), y == y.max()
            kind = "dropout" if torch.any(y < 0) else "ReLU"
            limits = (
                (y == 0, f"where the output is 0: the mask of a {kind}"),
                (most, "where the output is at its upper limit: the mask of a clamp"),
                (least, "where the output is at its lower limit: the mask of a clamp"),
                (least | most, "where the output is at either limit: the mask of a clamp"),
            )
            for region, words in limits:
                if int(region.sum()) > 1 and not torch.any(self._right(number, region)):
                    yield region, words

    def _source(self, number: int, region: Tensor, names: Sequence[str]) -> str | None:
        """The operand that the mask was taken from in place of the output."""
        for name, operand in zip(names, self._truth.operands, strict=True):
            if operand.shape != region.shape:
                continue
            positive = operand.detach() > 0
            both = positive & ~region
            mixed = bool(positive.any()) and not bool(positive.all())
            if (
                mixed
                and not torch.equal(positive, ~region)
                and not torch.any(self._ours(number, ~positive))
                and torch.any(self._right(number, both))
                and self._is_right(number, both)
            ):
                return name
        return None

    def _is_right(self, number: int, where: Tensor) -> bool:
        return self._same(self._ours(number, where), self._right(number, where))

    def _ours(self, number: int, where: Tensor) -> Tensor:
        return self._backward(self._masked(where))[number]

    def _right(self, number: int, where: Tensor) -> Tensor:
        return self._truth(self._masked(where))[number]

    def _masked(self, where: Tensor) -> list[Tensor]:
        """grad_output of the first output, and only there."""
        first, *others = self._grad_outputs
        return [first * where, *(torch.zeros_like(g) for g in others)]
