"""Argument checks: every constructor of the package rejects a value in the same words."""

import math
from collections.abc import Sequence
from typing import Any


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether the value is a whole number, `least` or more; a bool is not a number here."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Rejects a value that is not a whole number, `least` or more.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    if not is_whole(value, least):
        raise ValueError(f"{name}={value!r} must be a whole number, {least} or more")


def check_wholes(name: str, values: Any) -> None:
    """Rejects a value that is not a list of whole numbers, 1 or more.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueError(f"{name}={values!r} must be a list of whole numbers, 1 or more")
    if not all(map(is_whole, values)):
        raise ValueError(f"{name}={list(values)} must be a list of whole numbers, 1 or more")


def check_number(name: str, value: Any, least: float = -math.inf) -> None:
    """Rejects a value that is not a finite number, `least` or more.

    Raises:
        ValueError: naming the argument, its value and what is allowed.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (number and math.isfinite(value) and value >= least):
        bound = "" if least == -math.inf else f", {least:g} or more"
        raise ValueError(f"{name}={value!r} must be a finite number{bound}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Rejects a value that is not one of the choices.

    Raises:
        ValueError: naming the argument, its value and the choices.
    """
    if value not in choices:
        raise ValueError(f"unknown {name}={value!r}; choose one of {', '.join(choices)}")
