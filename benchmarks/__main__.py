"""Measures what docs/benchmarks.md reports: `python -m benchmarks`, or some of it by name.

Writes docs/results/benchmarks_NAME.json, then draws the figures and tables. Takes about 16
minutes; run it on a machine that is idle.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence

from benchmarks import commands, ops, record, scaling, step
from benchmarks.report import draw
from benchmarks.turns import Measurement
from studies.__main__ import write_tables

BENCHMARKS: dict[str, Callable[[], Iterator[Measurement]]] = {
    "step": step.standard,
    "ops": ops.measurements,
    "scaling": scaling.standard,
    "commands": commands.measurements,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(BENCHMARKS))
    parser.add_argument("--draw", action="store_true", help="only figures and tables")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"there is no {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    if not given.draw:
        for name in given.names or BENCHMARKS:
            record.measure(f"benchmarks_{name}", BENCHMARKS[name]())
    draw()
    write_tables()


if __name__ == "__main__":
    main()
