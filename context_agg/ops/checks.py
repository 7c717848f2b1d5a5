"""Argument checks: every constructor of the package rejects a value in the same words.

The `check_...` functions raise a ValueError that names the argument, its value and what is allowed.
"""

import math
import sys
from collections.abc import Sequence
from typing import Any


def is_number(value: Any) -> bool:
    """Whether the value is a finite number; a bool is not a number here."""
    finite = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return finite and not isinstance(value, bool)


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether the value is a whole number, `least` or more."""
    return isinstance(value, int) and is_number(value) and value >= least


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Rejects a value that is not a whole number, `least` or more."""
    if not is_whole(value, least):
        raise ValueError(f"{name}={value!r} must be a whole number, {least} or more")


def check_wholes(name: str, values: Any) -> None:
    """Rejects a value that is not a list of whole numbers, 1 or more."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str)
    if not (is_list and all(map(is_whole, values))):
        shown = list(values) if is_list else repr(values)
        raise ValueError(f"{name}={shown} must be a list of whole numbers, 1 or more")


def check_number(name: str, value: Any, least: float = -math.inf, most: float = math.inf) -> None:
    """Rejects a value that is not a finite number from `least` to `most`."""
    if not (is_number(value) and least <= value <= most):
        bound = "" if least == -math.inf else f", {least:g} or more"
        bound = bound if most == math.inf else f" from {least:g} to {most:g}"
        raise ValueError(f"{name}={value!r} must be a finite number{bound}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Rejects a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"unknown {name}={value!r}; choose one of {', '.join(choices)}")
