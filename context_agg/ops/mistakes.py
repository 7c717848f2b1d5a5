"""Wrong rules: the right backward with one piece exchanged, as people have got it wrong.

Half of them are right at dilation 1, and all of them train; docs/gradients.md tells what catches
each.
"""

from functools import partial

from torch import Tensor

from context_agg.ops.function import Rule
from context_agg.ops.rules import backward, forward, grad_weight, grad_x


def grad_x_undilated(grad_output: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """grad_x as if the dilation were 1."""
    del dilation
    return grad_x(grad_output, weight, 1)


def grad_weight_undilated(
    grad_output: Tensor, x: Tensor, kernel_size: int, dilation: int
) -> Tensor:
    """grad_weight as if the dilation were 1."""
    del dilation
    return grad_weight(grad_output, x, kernel_size, 1)


def grad_x_unrotated(grad_output: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """grad_x with the kernel as it is, not rotated by 180 degrees."""
    return grad_x(grad_output, weight.flip(2, 3), dilation)


def grad_bias_zero(grad_output: Tensor) -> Tensor:
    """No gradient for the bias, which then stays at its initial value."""
    return grad_output.new_zeros(grad_output.shape[1])


DRAFT_DILATIONS = {4: 3, 8: 3, 16: 1}  # what the draft's backward has for its forward's


def grad_x_draft(grad_output: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """grad_x of a transposed grad_output, with other dilations than the forward's."""
    return grad_x(_transposed(grad_output), weight, DRAFT_DILATIONS.get(dilation, dilation))


def grad_weight_draft(grad_output: Tensor, x: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """grad_weight of a transposed grad_output, with other dilations than the forward's."""
    dilation = DRAFT_DILATIONS.get(dilation, dilation)
    return grad_weight(_transposed(grad_output), x, kernel_size, dilation)


def _transposed(grad_output: Tensor) -> Tensor:
    height, width = grad_output.shape[-2:]
    if height != width:
        raise ValueError(
            f"backprop='draft' exchanges height and width of the gradient, so maps must be "
            f"square, not {height}x{width}"
        )
    return grad_output.transpose(2, 3)


MISTAKES: dict[str, Rule] = {
    # neither gradient knows of the dilation; in three drafts of the 2018 post's author
    "broken": Rule(
        forward, partial(backward, grad_x=grad_x_undilated, grad_weight=grad_weight_undilated)
    ),
    # the halves of that, to see what each does alone
    "undilated_grad_x": Rule(forward, partial(backward, grad_x=grad_x_undilated)),
    "undilated_grad_weight": Rule(forward, partial(backward, grad_weight=grad_weight_undilated)),
    # a correlation taken for its own adjoint; the classic slip of exercises
    "unrotated": Rule(forward, partial(backward, grad_x=grad_x_unrotated)),
    # a sum forgotten where the forward broadcasts; the other classic slip
    "no_bias_grad": Rule(forward, partial(backward, grad_bias=grad_bias_zero)),
    # wrong dilations, and height and width exchanged; in the manual draft of the same author
    "draft": Rule(forward, partial(backward, grad_x=grad_x_draft, grad_weight=grad_weight_draft)),
}
