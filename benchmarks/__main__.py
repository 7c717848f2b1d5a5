"""Measures how fast it is, all of it or some by name: `python -m benchmarks`.

Writes docs/results/benchmarks_NAME.json. Takes about ten minutes; run it on a machine that is idle.
"""

import argparse
from collections.abc import Callable, Iterator

from benchmarks import ops, record, scaling, step
from benchmarks.turns import Measurement

BENCHMARKS: dict[str, Callable[[], Iterator[Measurement]]] = {
    "step": step.standard,
    "ops": ops.measurements,
    "scaling": scaling.standard,
}


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help=", ".join(BENCHMARKS))
    given = parser.parse_args()
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"there is no {unknown[0]!r}; choose from {', '.join(BENCHMARKS)}")
    for name in given.names or BENCHMARKS:
        record.measure(f"benchmarks_{name}", BENCHMARKS[name]())


if __name__ == "__main__":
    main()
