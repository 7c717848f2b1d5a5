"""What a reference's backward pass gives if one piece of one of its convolutions is wrong.

The arguments of the convolutions are read where autograd calls their backward.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from context_agg.gradients.first_derivative import Backward
from context_agg.gradients.slips import Graph, Slip

PIECES = (0, 1)  # grad_input and grad_weight among what a convolution's backward returns
BACKWARD = torch.ops.aten.convolution_backward.default
Sizes = tuple[int, ...]
MOST_WEIGHTS = 500  # of a kernel that is looked for


@dataclass(frozen=True)
class Convolution:
    """A convolution, or with `transposed` its adjoint, with the gradient at its output.

    Shape: x (N, C, *L), weight (K, C / groups, *k), grad_output (N, K, *M); if transposed, weight
    is (C, K / groups, *k).
    """

    grad_output: Tensor
    x: Tensor
    weight: Tensor
    stride: Sizes
    padding: Sizes
    dilation: Sizes
    transposed: bool
    groups: int

    def gradient(self, piece: int) -> Tensor:
        """grad_input or grad_weight, from the windows that these numbers describe."""
        leaves = [
            t.detach().requires_grad_(i == piece) for i, t in enumerate((self.x, self.weight))
        ]
        with torch.enable_grad():
            y = self._windows(*leaves)
        return torch.autograd.grad(y, leaves[piece], self.grad_output)[0]

    def _windows(self, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution with zeros, or cut off, to the right until it has the output's size."""
        zero = [0] * len(self.stride)
        rest: Any = (self.dilation, self.transposed, zero, self.groups)
        wanted, kernel = self.grad_output.shape[2:], weight.shape[2:]
        if self.transposed:
            y = torch.convolution(x, weight, None, self.stride, zero, *rest)
            return F.pad(y, _pads(self.padding, y.shape[2:], wanted, sign=-1))
        needed = [
            (out - 1) * s + d * (k - 1) + 1
            for out, s, d, k in zip(wanted, self.stride, self.dilation, kernel, strict=True)
        ]
        padded = F.pad(x, _pads(self.padding, x.shape[2:], needed))
        return torch.convolution(padded, weight, None, self.stride, zero, *rest)


def _pads(left: Sequence[int], sizes: Sequence[int], wanted: Sequence[int], sign: int = 1) -> Any:
    """What to add on both sides of every axis, the last axis first."""
    pairs = [
        (sign * before, size_wanted - size - sign * before)
        for before, size, size_wanted in zip(left, sizes, wanted, strict=True)
    ]
    return [n for pair in reversed(pairs) for n in pair]


class _Record(TorchDispatchMode):
    """Keeps the convolutions whose backward is called."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[Convolution] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is BACKWARD:
            g, x, weight, _, stride, padding, dilation, transposed, _, groups, _ = args
            each = len(x.shape) - 2

            def spread(sizes: Sequence[int]) -> Sizes:
                return tuple(sizes) * (each if len(sizes) == 1 else 1)

            self.found.append(
                Convolution(
                    g.detach().clone(),
                    x.detach().clone(),
                    weight.detach().clone(),
                    spread(stride),
                    spread(padding),
                    spread(dilation),
                    transposed,
                    groups,
                )
            )
        return func(*args, **(kwargs or {}))


class _Replace(TorchDispatchMode):
    """Puts another tensor in place of one piece of one convolution's backward."""

    def __init__(self, number: int, piece: int, tensor: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left, self._piece, self._tensor = number, piece, tensor

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is not BACKWARD:
            return result
        self._left -= 1
        if self._left != -1 or result[self._piece] is None:
            return result
        pieces = list(result)
        pieces[self._piece] = self._tensor
        return tuple(pieces)


def _convolutions(backward: Backward, grad_outputs: Sequence[Tensor]) -> list[Convolution]:
    """Those whose backward is called, in that order."""
    with _Record() as record:
        backward(grad_outputs)
    return list(record.found)


def convolution_slips(graph: Graph, grad_outputs: Sequence[Tensor]) -> Iterator[Slip]:
    """A function's gradients with one mistake in one convolution."""
    found = _convolutions(graph.backward, grad_outputs)
    number = len(found)
    for i, convolution in enumerate(found):
        where = f" in convolution {number - i} of {number}" if number > 1 else ""
        for piece in PIECES:
            right = convolution.gradient(piece)
            for words, wrong in _wrong(convolution, piece):
                try:
                    tensor = wrong.gradient(piece)
                except RuntimeError:  # a window that is not there
                    continue
                if torch.equal(tensor, right):
                    continue
                with _Replace(i, piece, tensor):
                    yield Slip(words + where, dict(enumerate(graph.backward(grad_outputs))))


def other_kernel_slips(
    graph: Graph, grad_outputs: Sequence[Tensor], ours: Sequence[Tensor]
) -> Iterator[Slip]:
    """For one convolution alone, its grad_x with the kernel that brings it nearest to ours.

    Only where x has so many entries that not every gradient is that of some kernel.
    """
    found = _convolutions(graph.backward, grad_outputs)
    if len(found) != 1:
        return
    (right,) = found
    size = right.weight.numel()
    if size > MOST_WEIGHTS or right.x.numel() < 2 * size:
        return
    units = torch.eye(size, dtype=right.weight.dtype, device=right.weight.device)
    each = [replace(right, weight=unit.view_as(right.weight)).gradient(0) for unit in units]
    columns = torch.stack([gradient.flatten() for gradient in each], 1)
    for i, gradient in enumerate(ours):
        if gradient.shape == right.x.shape:
            fit = columns @ torch.linalg.lstsq(columns, gradient.flatten()[:, None]).solution
            yield Slip("is that of another kernel", {i: fit.view_as(gradient)}, scales=False)


def _wrong(right: Convolution, piece: int) -> Iterator[tuple[str, Convolution]]:
    """The mistakes, common ones first: kernel, dilation, stride, padding, and two at a time."""
    axes = len(right.stride)
    turned = replace(right, weight=right.weight.flip([*range(2, 2 + axes)]))
    if piece == 0:
        yield "has the kernel not rotated", turned
        signs = replace(right, weight=right.weight.sign())
        yield "has the signs of the kernel's entries in their place", signs
        if right.groups == 1 and right.weight.shape[0] == right.weight.shape[1]:
            maps = replace(right, weight=right.weight.transpose(0, 1))
            yield "has the kernel's input and output maps not exchanged", maps
            both = replace(turned, weight=turned.weight.transpose(0, 1))
            yield "has the kernel neither rotated nor its maps exchanged", both
    yield from _dilations(right)
    for stride in _forgotten(right.stride):
        yield f"is that of stride {_named(stride)}", replace(right, stride=stride)
    if any(right.padding):
        yield "is that of no padding", replace(right, padding=(0,) * axes)
    for by in (1, -1):
        padding = tuple(p + by for p in right.padding)
        yield f"is that of padding {_named(padding)}", replace(right, padding=padding)
    for padding in _forgotten(right.padding, least=0):
        yield f"is that of padding {_named(padding)}", replace(right, padding=padding)
    for words, wrong in _dilations(turned) if piece == 0 else ():
        yield f"{words}, with the kernel not rotated", wrong
    if set(right.stride) != {1}:
        for words, wrong in _dilations(replace(right, stride=(1,) * axes)):
            yield f"{words}, and of stride 1", wrong
    if axes == 2 and right.grad_output.shape[-1] == right.grad_output.shape[-2]:
        exchanged = replace(right, grad_output=right.grad_output.transpose(2, 3).contiguous())
        yield "has height and width of grad_output exchanged", exchanged
        for words, wrong in _dilations(exchanged):
            yield f"{words}, with height and width of grad_output exchanged", wrong


def _dilations(right: Convolution) -> Iterator[tuple[str, Convolution]]:
    """Other dilations: around the same middle, or from the same corner."""
    axes = len(right.dilation)
    sides = right.weight.shape[2:]
    others = {(d,) * axes for d in range(1, 2 * max(right.dilation) + 1)}
    others = (others | {*_forgotten(right.dilation)}) - {right.dilation}
    for dilation in sorted(others):
        words = f"is that of dilation {_named(dilation)}"
        padding = tuple(
            p + (new - old) * (k - 1) // 2
            for p, new, old, k in zip(right.padding, dilation, right.dilation, sides, strict=True)
        )
        yield words, replace(right, dilation=dilation, padding=padding)
        yield f"{words}, from the corner of the window", replace(right, dilation=dilation)


def _forgotten(sizes: Sizes, least: int = 1) -> list[Sizes]:
    """The sizes with some axes' own forgotten, or in another order."""
    some = set(product(*({least, size} for size in sizes))) | set(permutations(sizes))
    return sorted(some - {sizes})


def _named(sizes: Sizes) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else str(sizes)
