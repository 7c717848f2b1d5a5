"""`manual`: our backward pass by the fastest means at hand.

On the CPU these are our compiled kernels; for what they do not serve, the form that `rules` has by
PyTorch's operations. Which of the two depends only on device, dtype and number of maps, and on
whether there is a compiler.
"""

from functools import partial

from torch import Tensor

from context_agg.ops import rules
from context_agg.ops.function import Grads, Needs, Rule
from context_agg.ops.native import kernels
from context_agg.ops.native.rule import NATIVE, conv, conv_backward


def is_native(x: Tensor, out_channels: int) -> bool:
    """Whether a layer with this input runs on the compiled kernels."""
    return kernels.serve(x.device, x.dtype, max(x.shape[1], out_channels))


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool) -> Tensor:
    """As `rules.forward`."""
    rule = NATIVE if is_native(x, weight.shape[0]) else rules.MANUAL_TORCH
    return rule.forward(x, weight, bias, dilation, relu)


def backward(
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    dilation: int,
    relu: bool,
    needs: Needs,
) -> Grads:
    """As `rules.backward`."""
    rule = NATIVE if is_native(x, weight.shape[0]) else rules.MANUAL_TORCH
    return rule.backward(grad_output, x, weight, y, dilation, relu, needs)


MANUAL = Rule(forward, backward)


# The same in pieces, of which another rule can replace some.


def grad_x(grad_output: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """As `rules.grad_x`."""
    if not is_native(grad_output, weight.shape[1]):
        return rules.grad_x(grad_output, weight, dilation)
    return conv(grad_output, weight.transpose(0, 1).flip(2, 3), None, dilation)


def grad_weight(grad_output: Tensor, x: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """As `rules.grad_weight`."""
    maps = grad_output.shape[1]
    if not is_native(x, maps):
        return rules.grad_weight(grad_output, x, kernel_size, dilation)
    weight = x.new_zeros(maps, x.shape[1], kernel_size, kernel_size)  # any: it is not needed
    return conv_backward(grad_output, x, weight, None, dilation, (False, True, False))[1]


backward_in_pieces = partial(rules.backward, grad_x=grad_x, grad_weight=grad_weight)
