"""Calls a command of the package in the process of the tests."""

import importlib
import sys

import pytest


def call(name: str, *arguments: str) -> int | str | None:
    """Runs `python -m context_agg.NAME`; returns its exit code, or the message it exits with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        try:
            importlib.import_module(f"context_agg.{name}").main()
        except SystemExit as exit_:
            return exit_.code
    return 0
