"""Wrong rules: the correct backward with a mistake in it that people have made, or have proposed.

Some of them are correct at dilation 1, and all of them train; docs/gradients.md says which checks
catch each one.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from context_agg.ops.function import Grads, Needs, Rule
from context_agg.ops.manual import backward, backward_in_pieces, forward, grad_weight, grad_x


def backward_undilated(
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    dilation: int,
    relu: bool,
    needs: Needs,
) -> Grads:
    """All gradients as if the dilation were 1."""
    del dilation
    return backward(grad_output, x, weight, y, 1, relu, needs)


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


def grad_bias_zero(grad_output: Tensor) -> Tensor:
    """No gradient for the bias, which then stays at its initial value."""
    return grad_output.new_zeros(grad_output.shape[1])


def backward_through(
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    dilation: int,
    relu: bool,
    needs: Needs,
    *,
    kernel: Callable[[Tensor, int], Tensor],
) -> Grads:
    """The gradients with another kernel than the layer's; only grad_x depends on it."""
    through = kernel(weight, dilation) if needs[0] else weight
    return backward(grad_output, x, through, y, dilation, relu, needs)


def unrotated_kernel(weight: Tensor, dilation: int) -> Tensor:
    """The kernel that `grad_x`, which rotates it by 180 degrees, then uses as it is."""
    del dilation
    return weight.flip(2, 3)


def random_kernel(weight: Tensor, dilation: int) -> Tensor:
    """A fixed random kernel in place of the layer's."""
    kernel: Tensor = feedback_kernel(tuple(weight.shape), dilation).to(weight)
    return kernel


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def feedback_kernel(shape: tuple[int, ...], dilation: int) -> Tensor:
    """A kernel (K, C, k, k) that depends on PyTorch's seed, on its shape and on the dilation.

    Layers that agree in both share it. It is drawn from N(0, 1 / (K k k)), which preserves the size
    of a gradient of independent entries.
    """
    draw = np.random.default_rng([torch.initial_seed(), dilation, *shape])
    maps, _, height, width = shape
    return torch.from_numpy(draw.normal(0, (maps * height * width) ** -0.5, shape))


def kernel_signs(weight: Tensor, dilation: int) -> Tensor:
    """The signs of the kernel's entries in place of the entries."""
    del dilation
    return weight.sign()


DRAFT_DILATIONS = {4: 3, 8: 3, 16: 1}  # dilation of the draft's forward: of its backward


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
    # both gradients ignore the dilation; found in three drafts by the author of the 2018 post
    "broken": Rule(forward, backward_undilated),
    # the two halves of that mistake, each alone
    "undilated_grad_x": Rule(forward, partial(backward_in_pieces, grad_x=grad_x_undilated)),
    "undilated_grad_weight": Rule(
        forward, partial(backward_in_pieces, grad_weight=grad_weight_undilated)
    ),
    # the correlation is used as its own adjoint; the classic slip in exercises
    "unrotated": Rule(forward, partial(backward_through, kernel=unrotated_kernel)),
    # the sum over what the forward broadcasts is missing; the other classic slip
    "no_bias_grad": Rule(forward, partial(backward_in_pieces, grad_bias=grad_bias_zero)),
    # wrong dilations, and height and width exchanged; found in the same author's manual draft
    "draft": Rule(
        forward, partial(backward_in_pieces, grad_x=grad_x_draft, grad_weight=grad_weight_draft)
    ),
    # no mistakes but proposals: errors travel back through weights that need not be the forward's
    # (Lillicrap et al. 2016, doi 10.1038/ncomms13276; Liao et al. 2016, arXiv 1510.05067)
    "feedback_alignment": Rule(forward, partial(backward_through, kernel=random_kernel)),
    "sign_symmetric": Rule(forward, partial(backward_through, kernel=kernel_signs)),
}
