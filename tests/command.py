"""Calls a command of the package in the process of the tests."""

import importlib
import signal
import sys

import pytest

from context_agg.cli import signals


def call(name: str, *arguments: str) -> int | str | None:
    """Runs `python -m context_agg.NAME`; returns its exit code, or the message it exits with."""
    handlers = {number: signal.getsignal(number) for number in signals.ENDING}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        try:
            importlib.import_module(f"context_agg.{name}").main()
        except SystemExit as exit_:
            return exit_.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signals.at_once(None)
    return 0
