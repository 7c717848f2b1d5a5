"""Finds where a computation in float64 goes through numbers of fewer bits."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WHOLE = 8  # bytes of a float64


class _Narrowing(TorchDispatchMode):
    """Notes the fewest bytes of a floating-point tensor that was computed from a float64."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.least = WHOLE

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if WHOLE in _sizes((args, kwargs)):
            self.least = min(self.least, *_sizes(result), WHOLE)
        return result


def fewest_bytes(compute: Callable[[], Any]) -> int:
    """The fewest bytes of a number on the way; 8 if all is float64, or if it cannot be followed."""
    try:
        with _Narrowing() as seen:
            compute()
    except Exception:  # whatever a user's operator raises, or what no mode can follow
        return WHOLE
    return int(seen.least)


def _sizes(tree: Any) -> set[int]:
    return {
        leaf.element_size()
        for leaf in tree_leaves(tree)
        if isinstance(leaf, Tensor) and torch.is_floating_point(leaf)
    }
