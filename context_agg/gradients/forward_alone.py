"""A function as autograd would differentiate it: without the backward passes that users wrote."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.autograd import Function

from context_agg.gradients.op_call import Differentiable, takes_no_context


class ForwardAlone:
    """A function in which autograd differentiates the forward of every autograd.Function.

    It has the right gradients if the forwards are written in PyTorch and detach nothing. A Function
    whose `.apply` was bound to a name before keeps its own backward.
    """

    def __init__(self, function: Differentiable) -> None:
        self._function = function
        self.names, self.operands = function.names, function.operands

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        with _without_backward():
            return self._function(tensors)


@contextmanager
def _without_backward() -> Iterator[None]:
    """Lets `.apply` of any autograd.Function call its forward, and nothing else."""
    own = Function.__dict__["apply"]
    Function.apply = classmethod(_forward)
    try:
        yield
    finally:
        Function.apply = own


def _forward(cls: type[Function], *inputs: Any) -> Any:
    return cls.forward(*inputs) if takes_no_context(cls) else cls.forward(_Context(), *inputs)


class _Context:
    """Takes whatever a forward keeps for its backward, and forgets it."""

    needs_input_grad = (True,) * 100

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None
