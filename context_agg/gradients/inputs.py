"""What is remarkable about the inputs of a check: how they depend on one another."""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from torch import Tensor

FIXED = "each is differentiated with the other held fixed"


def remarks(names: Sequence[str], tensors: Sequence[Tensor]) -> Iterator[str]:
    """Says which inputs were computed from others, or lie in the same memory.

    Neither spoils a check, which differentiates copies of them; torch.autograd.gradcheck, which
    moves an input in place and lets autograd follow the graph before it, is misled by both.
    """
    for (a, x), (b, other) in combinations(zip(names, tensors, strict=True), 2):
        for one, two, first, second in ((a, b, x, other), (b, a, other, x)):
            if second.grad_fn is not None and _reaches(second.grad_fn, first):
                yield f"{two} was computed from {one}; {FIXED}"
        if x.numel() and x.untyped_storage().data_ptr() == other.untyped_storage().data_ptr():
            yield f"{a} and {b} share memory; {FIXED}"
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.numel() and any(
            stride == 0 and size > 1
            for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
        ):
            yield f"{name} is expanded: every entry is differentiated by itself"


def _reaches(node: Any, tensor: Tensor) -> bool:
    """Whether the graph behind a node contains the tensor."""
    seen, left = set(), [node]
    while left:
        current = left.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        if current is tensor.grad_fn or getattr(current, "variable", None) is tensor:
            return True
        left += [following for following, _ in current.next_functions]
    return False
