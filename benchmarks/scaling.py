"""Times a training step, and takes its memory, as one size varies: cost against work.

`python -m benchmarks.scaling` prints a line for each size. Run it on a machine that is idle.
"""

from collections.abc import Iterator

from benchmarks.limit import cores
from benchmarks.problem import Problem
from benchmarks.step import measurements
from benchmarks.turns import Measurement
from context_agg.networks.context import DILATIONS

PEERS = ["ours", "pytorch", "channels_last"]
ROUNDS = 9
BATCH_OF_SIDES = 8  # images of 256x256 in a batch of 128 take more than 10 GB

AXES: dict[str, dict[int, Problem]] = {
    "batch": {batch: Problem(DILATIONS, batch=batch) for batch in (1, 8, 32, 128, 512)},
    "channels": {c: Problem(DILATIONS, c) for c in (1, 2, 4, 8, 16, 32, 64)},
    "side": {
        side: Problem(DILATIONS, batch=BATCH_OF_SIDES, side=side)
        for side in (8, 16, 28, 64, 128, 256)
    },
    "dilation": {d: Problem((d,) * len(DILATIONS)) for d in (1, 2, 4, 8, 16)},
    "threads": {
        number: Problem(DILATIONS, threads=number if number < cores() else None)
        for number in sorted({1, cores() // 2 or 1, cores()})
    },
}
"""For each axis its sizes, and what is measured at each."""


def standard(
    axes: dict[str, dict[int, Problem]] = AXES, rounds: int = ROUNDS
) -> Iterator[Measurement]:
    """What the documents report; a problem that lies on several axes is measured once."""
    problems = {problem for sizes in axes.values() for problem in sizes.values()}
    ordered = sorted(problems, key=lambda problem: problem.multiply_adds)
    measured = dict(zip(ordered, measurements(ordered, PEERS, rounds), strict=True))
    for axis, sizes in axes.items():
        for size, problem in sizes.items():
            yield {"axis": axis, "size": size, **measured[problem]}


def main() -> None:
    """Runs the command."""
    for _ in standard():
        pass  # it prints


if __name__ == "__main__":
    main()
