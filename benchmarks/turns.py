"""Times peers in turns, so that what else the machine does meets all of them alike."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.limit import Limit, cores
from benchmarks.problem import Problem
from benchmarks.reference import check, error, reference, weights
from benchmarks.worker import started

WARM_UP = 3  # rounds that do not count: compilers and caches
REST = 0.015  # seconds until the idle threads of the one before have stopped to spin

Measurement = dict[str, Any]
"""The problem, its multiply-adds, the limit in every round, and each peer's times."""


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
    problem = problem.with_steps(WARM_UP + rounds)
    threads = problem.threads or cores()
    start = weights(problem)
    limits: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in peers}
    with ExitStack() as stack:
        workers = [stack.enter_context(started(name, problem, start)) for name in peers]
        expected = reference(problem, start)
        errors = {w.name: check(w.name, error(w.gradients(), expected)) for w in workers}
        for _ in range(problem.steps):
            limits.append(limit(threads))
            for worker in workers:
                time.sleep(REST)
                times[worker.name].append(worker.step())
        memory = {worker.name: worker.end() for worker in workers}
    return {
        "channels": problem.channels,
        "batch": problem.batch,
        "side": problem.side,
        "dilations": list(problem.dilations),
        "threads": threads,
        "gigaflops": round(2e-9 * problem.multiply_adds, 4),
        "limit_gigaflops_per_second": [round(2 * speed, 1) for speed in limits[WARM_UP:]],
        "peers": {
            name: {
                "error": float(f"{errors[name]:.1e}"),
                "mebibytes": round(memory[name], 1),
                "milliseconds": [round(1000 * seconds, 3) for seconds in times[name][WARM_UP:]],
            }
            for name in peers
        },
    }
