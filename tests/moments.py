"""Does something at a moment of a run: in the n-th call of a function."""

import functools
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest


def at(where: str, count: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls `act` once, at the count-th call, from 1, of a function: "os.replace", "a.b:C.d"."""
    place, _, name = where.rpartition(".")
    owner: Any = pkgutil.resolve_name(place)
    original = getattr(owner, name)
    left = count

    @functools.wraps(original)
    def call(*operands: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            act()
        return original(*operands, **options)

    monkeypatch.setattr(owner, name, call)
