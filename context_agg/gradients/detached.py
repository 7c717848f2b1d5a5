"""A reference's gradients with one step of its forward pass taken as a constant."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from context_agg.gradients.first_derivative import Backward, copied
from context_agg.gradients.op_call import map_tensors
from context_agg.gradients.slips import Graph, Slip

MOST_STEPS = 100


class _Detach(TorchFunctionMode):
    """Detaches one of the tensors that are passed on: a use of an operand, or a result."""

    def __init__(self, names: Mapping[int, str], number: int | None = None) -> None:
        super().__init__()
        self.words: list[str] = []
        self._names, self._number, self._calls = names, number, 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__get__":  # x.shape and the like
            return func(*args, **(kwargs or {}))
        call = f"`{name}` (call {self._calls + 1})"

        def use(tensor: Tensor) -> Tensor:
            operand = self._names.get(id(tensor))
            return tensor if operand is None else self._passed(tensor, f"{operand} in {call}")

        def result(tensor: Tensor) -> Tensor:
            return self._passed(tensor, f"the result of {call}") if tensor.requires_grad else tensor

        given = map_tensors(use, [tuple(args), dict(kwargs or {})])
        out = func(*given[0], **given[1])
        if not isinstance(out, Tensor | tuple):
            return out  # x.is_floating_point() and the like
        self._calls += 1
        return map_tensors(result, out) if isinstance(out, Tensor) or type(out) is tuple else out

    def _passed(self, tensor: Tensor, words: str) -> Tensor:
        self.words.append(words)
        return tensor.detach() if len(self.words) - 1 == self._number else tensor


def detached_slips(graph: Graph, grad_outputs: Sequence[Tensor]) -> Iterator[Slip]:
    """The gradients with each step of the function detached in turn."""
    function, backward = graph

    def run(number: int | None = None) -> tuple[list[str], Backward]:
        copies = copied(backward.operands)
        names = {id(copy): name for copy, name in zip(copies, function.names, strict=True)}
        with _Detach(names, number) as mode:
            return mode.words, Backward(function, backward.operands, copies)

    steps, _ = run()
    if len(steps) > MOST_STEPS:
        return
    for number, words in enumerate(steps):
        _, cut = run(number)
        gradients = {i: g for i, g in enumerate(cut(grad_outputs)) if torch.any(g)}
        yield Slip(f"lacks a part: it is right if {words} is taken as a constant", gradients)
