"""Times a whole training step of `model=basic`, ours beside its peers, in turns.

`python -m benchmarks.step` prints a line for each peer and C. Run it on a machine that is idle.
"""

import argparse
from collections.abc import Iterable, Iterator
from statistics import median

from benchmarks.limit import Limit
from benchmarks.peers import PEERS, installed
from benchmarks.problem import Problem
from benchmarks.turns import Measurement, measure
from context_agg.networks.context import DILATIONS

CHANNELS = (8, 16, 32)
ROUNDS = 25


def measurements(
    problems: Iterable[Problem], peers: list[str], rounds: int = ROUNDS
) -> Iterator[Measurement]:
    """Measures each problem, and prints what came out."""
    limit = Limit()
    peers = installed(peers)
    for problem in problems:
        measured = measure(problem, peers, rounds, limit)
        print(describe(measured), flush=True)
        yield measured


def describe(measured: Measurement) -> str:
    """A line for each peer."""
    limit = max(measured["limit_gigaflops_per_second"])
    dilations = measured["dilations"]
    usual = "" if dilations == list(DILATIONS) else f", dilations {dilations}"
    lines = [
        "C = {channels}, batch {batch}, {side}x{side}, {threads} threads".format(**measured)
        + f"{usual}: {measured['gigaflops']:.3g} GFLOP, limit {limit:.0f} GFLOP/s"
    ]
    first, *_ = measured["peers"].values()
    for name, row in measured["peers"].items():
        times = row["milliseconds"]
        pairs = zip(times, first["milliseconds"], strict=True)
        lines.append(
            f"  {PEERS[name].title:<24} best {min(times):8.2f} ms, median {median(times):8.2f}, "
            f"{1000 * measured['batch'] / median(times):7.0f} images/s, "
            f"{100 * measured['gigaflops'] / min(times) * 1000 / limit:3.0f} % of the limit, "
            f"x{median(time / own for time, own in pairs):.2f}, {row['mebibytes']:.0f} MiB"
        )
    return "\n".join(lines)


def standard() -> Iterator[Measurement]:
    """What the documents report."""
    problems = [Problem(DILATIONS, channels) for channels in CHANNELS]
    return measurements(problems, list(PEERS))


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("channels", type=int, nargs="*", default=list(CHANNELS), help="values of C")
    parser.add_argument("--side", type=int, default=28, help="of the images, in pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--threads", type=int, default=None, help="fewer than all need Linux")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    given = parser.parse_args()
    problems = [
        Problem(DILATIONS, channels, given.batch, given.side, threads=given.threads)
        for channels in given.channels
    ]
    for _ in measurements(problems, given.peers, given.rounds):
        pass  # it prints


if __name__ == "__main__":
    main()
