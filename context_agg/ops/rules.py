"""The correct hand-written rules: plain functions on tensors, derived in docs/method.md."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from context_agg.ops.function import Grads, Needs, Rule

# manual_torch: the forward is one convolution, the backward two correlations and a sum.


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool) -> Tensor:
    """y[p] = sum_t weight[t] x[p + dilation t] + bias, with x zero outside the image; then ReLU."""
    margin = dilation * (weight.shape[-1] // 2)
    y = F.conv2d(x, weight, bias, padding=margin, dilation=dilation)
    return F.relu(y) if relu else y


def grad_x(grad_output: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """grad_x[q] = sum_t weight[t]^T grad_output[q - dilation t].

    This is the forward again, with the kernel rotated by 180 degrees and its input and output
    maps exchanged.
    """
    rotated = weight.transpose(0, 1).flip(2, 3)
    return forward(grad_output, rotated, None, dilation, relu=False)


def grad_weight(grad_output: Tensor, x: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """grad_weight[t] = sum_p grad_output[p] x[p + dilation t]^T.

    There is one matrix product per tap, over the positions where both factors lie in the image:
    only 38 % of them at dilation 16 on 28x28.
    """
    grad_output = grad_output.transpose(0, 1).contiguous()  # (K, N, H, W)
    x = x.transpose(0, 1).contiguous()  # (C, N, H, W)
    steps = [dilation * (tap - kernel_size // 2) for tap in range(kernel_size)]
    taps = []
    for step_h in steps:
        for step_w in steps:
            grad = inside(inside(grad_output, 2, -step_h), 3, -step_w)
            seen = inside(inside(x, 2, step_h), 3, step_w)
            taps.append(grad.reshape(len(grad), -1) @ seen.reshape(len(seen), -1).T)  # (K, C)
    # reshape, not (un)flatten: autograd.grad(is_grads_batched=True) has no rule for those
    return torch.stack(taps, dim=-1).reshape(len(grad_output), len(x), kernel_size, kernel_size)


def grad_bias(grad_output: Tensor) -> Tensor:
    """grad_bias = sum_p grad_output[p], over positions and images."""
    return grad_output.sum((0, 2, 3))


def inside(image: Tensor, axis: int, step: int) -> Tensor:
    """The pixels that lie `step` further along an axis, for positions where that is inside."""
    size = image.shape[axis]
    length = max(size - abs(step), 0)
    return image.narrow(axis, min(max(step, 0), size), length)


def backward(
    grad_output: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    dilation: int,
    relu: bool,
    needs: Needs,
    *,
    grad_x: Callable[[Tensor, Tensor, int], Tensor] = grad_x,
    grad_weight: Callable[[Tensor, Tensor, int, int], Tensor] = grad_weight,
    grad_bias: Callable[[Tensor], Tensor] = grad_bias,
) -> Grads:
    """The gradients of `forward` that are needed; other rules replace a piece with their own."""
    if relu:
        assert y is not None  # the Function saves the output of a layer with ReLU
        grad_output = torch.where(y > 0, grad_output, 0)  # a product would let infinities through
    return (
        grad_x(grad_output, weight, dilation) if needs[0] else None,
        grad_weight(grad_output, x, weight.shape[-1], dilation) if needs[1] else None,
        grad_bias(grad_output) if needs[2] else None,
    )


MANUAL_TORCH = Rule(forward, backward)


# manual_taps: the textbook form. Every formula of docs/method.md is a loop over the taps.


def windows(x: Tensor, kernel_size: int, dilation: int) -> Iterator[tuple[int, int, Tensor]]:
    """Yields each tap (i, j) and what it sees: x shifted by its offset, zero outside."""
    height, width = x.shape[-2:]
    margin = dilation * (kernel_size // 2)
    padded = F.pad(x, (margin, margin, margin, margin))
    for i in range(kernel_size):
        for j in range(kernel_size):
            top, left = i * dilation, j * dilation
            yield i, j, padded[:, :, top : top + height, left : left + width]


def forward_taps(
    x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int, relu: bool
) -> Tensor:
    """Each output is the weighted sum of what its taps see."""
    y = sum(
        torch.einsum("kc,nchw->nkhw", weight[:, :, i, j], window)
        for i, j, window in windows(x, weight.shape[-1], dilation)
    )
    assert isinstance(y, Tensor)  # a kernel has at least one tap
    if bias is not None:
        y = y + bias[:, None, None]
    return F.relu(y) if relu else y


def grad_x_taps(grad_output: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Each tap sends its share back to where it looked: the window of the opposite tap."""
    last = weight.shape[-1] - 1
    grad = sum(
        torch.einsum("kc,nkhw->nchw", weight[:, :, last - i, last - j], window)
        for i, j, window in windows(grad_output, weight.shape[-1], dilation)
    )
    assert isinstance(grad, Tensor)
    return grad


def grad_weight_taps(grad_output: Tensor, x: Tensor, kernel_size: int, dilation: int) -> Tensor:
    """The gradient of each tap is the product of what came back and what the tap saw."""
    taps = [
        torch.einsum("nkhw,nchw->kc", grad_output, window)
        for _, _, window in windows(x, kernel_size, dilation)
    ]
    return torch.stack(taps, dim=-1).reshape(
        grad_output.shape[1], x.shape[1], kernel_size, kernel_size
    )


MANUAL_TAPS = Rule(
    forward_taps, partial(backward, grad_x=grad_x_taps, grad_weight=grad_weight_taps)
)
