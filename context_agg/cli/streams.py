"""The standard streams of a command."""

import io
import os
import sys


def prepare() -> None:
    """Prints line by line, into a file too, so that it can be followed.

    Opens /dev/null in place of a stream that the caller has closed. Else a file of the run would
    get its number, and with it what libraries print there.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w"))  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
