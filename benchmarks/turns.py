"""Times peers in turns, so that what else the machine does meets all of them alike."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import psutil

from benchmarks.limit import Limit, cores
from benchmarks.problem import Problem
from benchmarks.reference import check, error, reference, weights
from benchmarks.worker import started

WARM_UP = 2  # rounds that do not count: compilers
REST = 0.015  # seconds until the idle threads of the one before have stopped to spin

IDLE = 15  # percent of the processors that others may use when a round begins
PATIENCE = 20  # seconds that the rounds of one problem wait in all for that

Measurement = dict[str, Any]
"""The problem and its work; the limit, what others used, and each peer's time in every round."""


class Quiet:
    """Waits for moments in which the machine is idle, on a machine that is shared.

    Attributes:
        busy: percent of the processors that others used when the wait ended, by round.
    """

    def __init__(self) -> None:
        self.busy: list[float] = []
        self._last = time.monotonic() + PATIENCE

    def wait(self) -> None:
        """Waits until the machine is idle, or until there is no patience left."""
        time.sleep(REST)
        while (busy := psutil.cpu_percent(0.1)) > IDLE and time.monotonic() < self._last:
            pass
        self.busy.append(busy)


def measure(problem: Problem, peers: Sequence[str], rounds: int, limit: Limit) -> Measurement:
    """Checks the peers, then times their steps.

    Args:
        problem: what they train.
        peers: names of the peers.
        rounds: steps of each that count.
        limit: measured once a round, too.

    Raises:
        ArithmeticError: if a peer's loss or gradients are wrong.
        RuntimeError: if a peer fails.
    """
    problem = problem.with_steps(2 * (WARM_UP + rounds))
    threads = problem.threads or cores()
    start = weights(problem)
    limits: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in peers}
    with ExitStack() as stack:
        workers = [stack.enter_context(started(name, problem, start)) for name in peers]
        expected = reference(problem, start)
        errors = {w.name: check(w.name, error(w.gradients(), expected)) for w in workers}
        quiet = Quiet()
        for _ in range(WARM_UP + rounds):
            quiet.wait()
            limits.append(limit(threads))
            for worker in workers:
                time.sleep(REST)
                worker.step()  # in training one step follows another: this one wakes the threads
                times[worker.name].append(worker.step())
        memory = {worker.name: worker.end() for worker in workers}
    return {
        "channels": problem.channels,
        "batch": problem.batch,
        "side": problem.side,
        "dilations": list(problem.dilations),
        "threads": threads,
        "gigaflops": round(2e-9 * problem.multiply_adds, 4),
        "limit_gigaflops_per_second": [round(speed, 1) for speed in limits[WARM_UP:]],
        "others_percent": quiet.busy[WARM_UP:],
        "peers": {
            name: {
                "error": float(f"{errors[name]:.1e}"),
                "mebibytes": round(memory[name], 1),
                "milliseconds": [round(1000 * seconds, 3) for seconds in times[name][WARM_UP:]],
            }
            for name in peers
        },
    }
