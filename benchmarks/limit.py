"""Measures how many multiply-adds the processor can do at most."""

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path

from context_agg.ops.native.compiler import FLAGS, HOW_TO_GET, THREADED, compiler

SOURCE = Path(__file__).with_name("limit.cpp")
ROUNDS, BURSTS = 300_000, 20  # a burst takes about half a millisecond


class Limit:
    """Measures it, each time anew: it changes with the clock, and with what else runs."""

    def __init__(self) -> None:
        path = compiler()
        if path is None:
            raise OSError(f"there is no C++ compiler to measure the limit with: {HOW_TO_GET}")
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "limit"
            subprocess.run([path, *FLAGS, THREADED, str(SOURCE), "-o", str(made)], check=True)
            self._run = ctypes.CDLL(str(made)).run
        self._run.restype = ctypes.c_double

    def __call__(self, threads: int) -> float:
        """GFLOP/s of so many threads; a multiply-add is two operations."""
        result = ctypes.c_float()
        speed: float = self._run(ctypes.c_long(ROUNDS), BURSTS, threads, ctypes.byref(result))
        return speed


def cores() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
