"""The slips that people make: the right gradients, changed as each slip would change them.

A slip is looked for by comparing a wrong gradient with these.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, combinations, product
from typing import NamedTuple

import torch
from torch import Tensor

from context_agg.gradients.first_derivative import Backward
from context_agg.gradients.op_call import Differentiable
from context_agg.gradients.truth import Truth

Same = Callable[[Tensor, Tensor], bool]
"""Whether two gradients agree but for rounding."""

MOST_AXES = 5  # of a tensor that is flipped along every choice of axes
MOST_MEANINGS = 3  # of a number that are told


class Slip(NamedTuple):
    """What a mistake would give.

    Attributes:
        words: what to say of a gradient that it gives, behind "grad_x".
        gradients: the gradients, by the number of the operand.
        scales: whether it may come with a factor.
    """

    words: str
    gradients: Mapping[int, Tensor]
    scales: bool = True


class Graph(NamedTuple):
    """A function whose right gradients autograd can take, at its operands."""

    function: Differentiable
    backward: Backward


def gradient_slips(
    names: Sequence[str], ours: Sequence[Tensor], right: Sequence[Tensor], same: Same
) -> Iterator[Slip]:
    """The right gradients exchanged, turned, shifted or summed up."""
    for i, j in product(range(len(right)), repeat=2):
        if i != j and right[i].shape == right[j].shape:
            why = ": given for both?" if same(ours[j], right[j]) else ": the two exchanged?"
            yield Slip(f"is the gradient of {names[j]}{why}", {i: right[j]})
    for i, gradient in enumerate(right):
        for words, changed in _rearranged(gradient):
            yield Slip(words, {i: changed})
        for axis, words, changed in _reduced(gradient):
            yield Slip(f"is {words} over axis {axis}", {i: changed}, scales=False)


def _rearranged(gradient: Tensor) -> Iterator[tuple[str, Tensor]]:
    axes = [axis for axis, size in enumerate(gradient.shape) if size > 1]
    for a, b in combinations(axes, 2):
        changed = gradient.transpose(a, b)
        if changed.shape == gradient.shape:
            yield f"has its axes {a} and {b} exchanged", changed
        else:
            changed = changed.reshape(gradient.shape)
            yield f"was reshaped where axes {a} and {b} had to be exchanged", changed
    if gradient.dim() > 1 and gradient.shape[-1] == gradient.shape[-2]:
        symmetric = (gradient + gradient.transpose(-1, -2)) / 2
        yield "is made symmetric: the operator takes its input to be symmetric", symmetric
    for chosen in _choices(axes):
        yield f"is reversed along {_axes(chosen)}", gradient.flip(chosen)
    for shifts in _shifts(axes[-2:]):
        where = " and ".join(f"{by:+} along axis {axis}" for axis, by in shifts.items())
        yield f"is shifted by {where}", _shifted(gradient, shifts)
        yield (
            f"is shifted by {where}, around the edge",
            gradient.roll(list(shifts.values()), list(shifts)),
        )
    yield "is cut off below 0", gradient.clamp(min=0)


def _reduced(tensor: Tensor) -> Iterator[tuple[int, str, Tensor]]:
    """The mean and the sum over every axis, in its place."""
    for axis, size in enumerate(tensor.shape):
        if size > 1:
            mean = tensor.mean(axis, keepdim=True).expand_as(tensor)
            yield axis, "averaged", mean
            yield axis, "summed", mean * size


def grad_output_slips(truth: Truth, grad_outputs: Sequence[Tensor]) -> Iterator[Slip]:
    """What the right backward pass makes of a wrong grad_output."""

    def with_output(number: int, changed: Tensor) -> dict[int, Tensor]:
        replaced = [*grad_outputs]
        replaced[number] = changed
        return dict(enumerate(truth(replaced)))

    several = len(grad_outputs) > 1
    for k, g in enumerate(grad_outputs):
        y = f"y[{k}]" if several else "y"
        if several:
            yield Slip(f"lacks what comes from {y}", with_output(k, torch.zeros_like(g)))
        if len(grad_outputs) > 2:
            others = [torch.zeros_like(other) for other in grad_outputs]
            others[k] = g
            yield Slip(f"has only what comes from {y}", dict(enumerate(truth(others))))
        for words, changed in _wrong_grad_outputs(g, y):
            yield Slip(words, with_output(k, changed))
        for axis, words, changed in _reduced(g):
            words = f"is that of grad_output {words} over axis {axis}"
            yield Slip(words, with_output(k, changed), scales=False)
    for i, j in combinations(range(len(grad_outputs)), 2):
        if grad_outputs[i].shape == grad_outputs[j].shape:
            swapped = [*grad_outputs]
            swapped[i], swapped[j] = swapped[j], swapped[i]
            words = f"is that of the grad_outputs of y[{i}] and y[{j}] exchanged"
            yield Slip(words, dict(enumerate(truth(swapped))))


def _wrong_grad_outputs(g: Tensor, y: str) -> Iterator[tuple[str, Tensor]]:
    axes = [axis for axis, size in enumerate(g.shape) if size > 1]
    yield f"is that of grad_output = 1 at {y}", torch.ones_like(g)
    yield "is that of grad_output cut off below 0: a ReLU of the gradient?", g.clamp(min=0)
    yield "is that of the absolute value of grad_output", g.abs()
    yield "is that of the sign of grad_output", g.sign()
    for chosen in _choices(axes):
        kept = _only(g, dict.fromkeys(chosen, 0))
        words = f"counts only index 0 of {_axes(chosen)} of {y}"
        yield f"{words}: the other terms of a sum are missing", kept
    for axis in axes:
        size = g.shape[axis]
        last = _only(g, {axis: size - 1})
        yield f"counts only the last index of axis {axis} of {y}", last
        yield f"lacks index 0 of axis {axis} of {y}: one term of a sum", g - _only(g, {axis: 0})
        yield f"lacks the last index of axis {axis} of {y}: one term of a sum", g - last
    for a, b in combinations(axes, 2):
        if g.shape[a] == g.shape[b]:
            yield f"is that of grad_output with axes {a} and {b} exchanged", g.transpose(a, b)
    for axis in axes:
        yield f"is that of grad_output reversed along axis {axis}", g.flip(axis)
    for shifts in _shifts(axes[-2:]):
        where = " and ".join(f"{by:+} along axis {axis}" for axis, by in shifts.items())
        yield f"is that of grad_output shifted by {where}", _shifted(g, shifts)
    if axes:
        yield f"is that of the sum of grad_output over all of {y}", g.sum().expand_as(g)


def operand_slips(graph: Graph, grad_outputs: Sequence[Tensor]) -> Iterator[Slip]:
    """The right gradients at wrong values: tensors saved in the wrong order, or the wrong ones."""
    function, backward = graph
    operands = [operand.detach() for operand in backward.operands]
    names = function.names

    def at(words: str, values: Sequence[Tensor]) -> Iterator[Slip]:
        try:
            moved = Backward(function, [value.clone().requires_grad_() for value in values])
            gradients = moved(grad_outputs)
        except Exception:  # whatever a user's operator raises outside the values it is made for
            return
        yield Slip(words, dict(enumerate(gradients)))

    for i, j in combinations(range(len(operands)), 2):
        if operands[i].shape == operands[j].shape:
            swapped = [*operands]
            swapped[i], swapped[j] = swapped[j], swapped[i]
            words = f"is that for {names[i]} and {names[j]} exchanged: saved in the wrong order?"
            yield from at(words, swapped)
    for i, operand in enumerate(operands):
        for y in backward.outputs:
            if y.shape == operand.shape:
                replaced = [*operands]
                replaced[i] = y.detach()
                yield from at(f"is taken at the output, not at {names[i]}", replaced)


def factors(operand: Tensor, name: str, outputs: Sequence[Tensor]) -> Iterator[tuple[float, str]]:
    """Numbers that a gradient may be too large by, with what each would mean."""
    batch = next((t.shape[0] for t in (*outputs, operand) if t.dim()), 1)
    over = [(batch, "the batch"), (operand.numel(), f"all entries of {name}")]
    for number, y in enumerate(outputs):
        called = f"y[{number}]" if len(outputs) > 1 else "y"
        over.append((y.numel(), f"all entries of {called}"))
        if (positions := math.prod(y.shape[2:])) > 1:
            over.append((positions, f"the positions of {called}"))
            over.append((positions * batch, f"the batch and the positions of {called}"))
        over += _lengths(y, called, batch)
    over += _lengths(operand, name, batch)
    yield 2.0, "a factor 2"
    yield 0.5, "a forgotten factor 2"
    meanings: dict[int, list[str]] = {}
    for size, words in over:
        if size > 1:
            meanings.setdefault(size, []).append(words)
    told = [(size, " or ".join(several[:MOST_MEANINGS])) for size, several in meanings.items()]
    for size, words in told:
        yield size, f"a sum over {words} where a mean is right"
        yield 1 / size, f"a mean over {words} where a sum is right"
    for size, words in told:
        yield math.sqrt(size), f"the square root of {size}, {words}"
        yield 1 / math.sqrt(size), f"the square root of {size}, {words}"


def _lengths(tensor: Tensor, name: str, batch: int) -> list[tuple[int, str]]:
    """The length of every axis but that of the batch."""
    sizes = enumerate(tensor.shape)
    return [(size, f"axis {axis} of {name}") for axis, size in sizes if axis or size != batch]


def _only(g: Tensor, kept: Mapping[int, int]) -> Tensor:
    """The tensor with zeros except at one index of each of these axes."""
    index = [slice(None)] * g.dim()
    for axis, i in kept.items():
        index[axis] = slice(i, i + 1)
    result = torch.zeros_like(g)
    result[tuple(index)] = g[tuple(index)]
    return result


def _choices(axes: Sequence[int]) -> Iterator[list[int]]:
    """All choices of one or more axes, single ones first."""
    few = axes[-MOST_AXES:]
    picked = chain.from_iterable(combinations(few, n) for n in range(1, len(few) + 1))
    return (list(chosen) for chosen in picked)


def _shifts(axes: Sequence[int]) -> Iterator[dict[int, int]]:
    """All shifts by one or two entries along one or two axes, short ones first."""
    steps = product(range(-2, 3), repeat=len(axes))
    for by in sorted(steps, key=lambda by: sum(map(abs, by))):
        shifts = {axis: step for axis, step in zip(axes, by, strict=True) if step}
        if shifts:
            yield shifts


def _shifted(tensor: Tensor, shifts: Mapping[int, int]) -> Tensor:
    """Moves the entries along the axes; zeros come in."""
    result = tensor.roll(list(shifts.values()), list(shifts))
    for axis, by in shifts.items():
        width = min(abs(by), result.shape[axis])
        result.narrow(axis, 0 if by > 0 else result.shape[axis] - width, width).zero_()
    return result


def _axes(chosen: Sequence[int]) -> str:
    *most, last = (str(axis) for axis in chosen)
    return f"axes {', '.join(most)} and {last}" if most else f"axis {last}"
