"""A process for each peer, as frameworks in one process fight over its threads.

The parent steps the workers in turn. A worker's loop is its framework's own; what it calls after
every step tells the parent how long the step took, and waits until it is the worker's turn again.
"""

import os
import pkgutil
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, cast

import psutil

from benchmarks.peers import PEERS
from benchmarks.problem import Array, Gradients, Loop, Problem

MIB = 2**20


class Worker:
    """The parent's end of a worker; `started` makes one.

    Args:
        name: name of its peer.
        pipe: to the process.
        said: what the process writes to its standard error.
    """

    def __init__(self, name: str, pipe: Connection, said: IO[bytes]) -> None:
        self.name = name
        self._pipe = pipe
        self._said = said

    def gradients(self) -> Gradients:
        """Waits until it is ready; what it computes before the first step."""
        return cast(Gradients, self._receive())

    def step(self) -> float:
        """Lets it take a step, alone; returns the seconds."""
        self._pipe.send(None)
        return cast(float, self._receive())

    def end(self) -> float:
        """Lets it end; returns the MiB that its network and training added to its memory."""
        self._pipe.send(None)
        return cast(float, self._receive())

    def _receive(self) -> object:
        try:
            return self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._said.seek(0)
            message = self._said.read().decode(errors="replace").strip()
            raise RuntimeError(f"{PEERS[self.name].title} ended: {message[-2000:]}") from None


@contextmanager
def started(name: str, problem: Problem, weights: list[Array]) -> Iterator[Worker]:
    """Starts the worker of a peer, and waits for its end, or kills it after an error."""
    ours, its = Pipe()
    with tempfile.TemporaryFile() as said, ours:
        with its:
            command = [sys.executable, "-m", "benchmarks.worker", str(its.fileno())]
            process = subprocess.Popen(
                command, pass_fds=[its.fileno()], stdout=subprocess.DEVNULL, stderr=said
            )
        try:
            ours.send((PEERS[name].loop, problem, weights))
            yield Worker(name, ours, said)
        except BaseException:
            process.kill()
            raise
        finally:
            process.wait()


class Turns:
    """The worker's end: called after a step, it reports the time and waits for the next turn."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.wait()

    def wait(self) -> None:
        """Waits for a turn; the time of a step begins when it comes."""
        self.pipe.recv()
        self.start = time.perf_counter()

    def __call__(self) -> None:
        self.pipe.send(time.perf_counter() - self.start)
        self.wait()


def serve(pipe: Connection) -> None:
    """The worker's process."""
    loop: str
    problem: Problem
    weights: list[Array]
    loop, problem, weights = pipe.recv()
    _hide_other_peers(loop)
    if problem.threads is not None:  # before the framework counts the processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: problem.threads])
    make = pkgutil.resolve_name(loop)
    before = psutil.Process().memory_info().rss
    peer: Loop = make(problem, weights)
    pipe.send(peer.check())
    peer.train(Turns(pipe))
    pipe.send((peak_memory() - before) / MIB)


def _hide_other_peers(loop: str) -> None:
    """TensorBoard and Flax import TensorFlow where it is installed, and grow by 600 MiB."""
    own = next(peer.needs for peer in PEERS.values() if peer.loop == loop)
    for peer in PEERS.values():
        sys.modules |= {name: None for name in peer.needs if name not in own}  # type: ignore[misc]


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # on Linux that begins at the peak of the parent
    status = Path("/proc/self/status").read_text()
    (kibibytes,) = re.findall(r"^VmHWM:\s*(\d+) kB$", status, re.M)
    return 1024 * int(kibibytes)


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
