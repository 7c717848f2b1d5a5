"""Measures how many multiply-adds the processor can do at most."""

import ctypes
import os
import subprocess
import tempfile
import time
from pathlib import Path

from context_agg.ops.native.compiler import FLAGS, HOW_TO_GET, THREADED, compiler

SOURCE = Path(__file__).with_name("limit.cpp")
ROUNDS = 2_000_000  # some ten milliseconds


class Limit:
    """Measures it, each time anew: it changes with the clock, and with what else runs."""

    def __init__(self) -> None:
        path = compiler()
        if path is None:
            raise OSError(f"there is no C++ compiler to measure the limit with: {HOW_TO_GET}")
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "limit"
            subprocess.run([path, *FLAGS, THREADED, str(SOURCE), "-o", str(made)], check=True)
            self._library = ctypes.CDLL(str(made))
        self._library.run.restype = ctypes.c_float
        self.width = ctypes.c_int.in_dll(self._library, "width").value

    def __call__(self, threads: int | None = None, rounds: int = ROUNDS) -> float:
        """Multiply-adds a second, in thousands of millions, of so many threads (None: all)."""
        threads = threads or cores()
        start = time.perf_counter()
        self._library.run(ctypes.c_long(rounds), ctypes.c_int(threads))
        seconds = time.perf_counter() - start
        return threads * rounds * self.width / seconds / 1e9


def cores() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
