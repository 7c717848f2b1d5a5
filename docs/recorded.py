"""Where the documents' numbers are kept, small CSV files in docs/results, and what they need."""

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
FIGURES = ROOT / "docs" / "figures"

Curves = dict[str, list[float]]
"""By scalar, its values by epoch."""


def read(name: str) -> list[dict[str, str]]:
    """The rows of docs/results/NAME.csv."""
    with (RESULTS / f"{name}.csv").open() as stream:
        return list(csv.DictReader(stream))


def read_curves(name: str) -> dict[str, list[Curves]]:
    """The curves of docs/results/NAME_curves.csv by variant, a run each."""
    runs: dict[str, Curves] = {}
    for row in read(f"{name}_curves"):
        curves = runs.setdefault(row.pop("run"), {})
        row.pop("epoch")
        for scalar, value in row.items():
            curves.setdefault(scalar, []).append(float(value))
    variants: dict[str, list[Curves]] = {}
    for run, curves in runs.items():
        variants.setdefault(run.rpartition("/")[0] or name, []).append(curves)
    return variants


def record(name: str, measure: Callable[[], Iterable[Sequence[str]]]) -> None:
    """Measures docs/results/NAME.csv where it is missing; its first row names the columns."""
    file = RESULTS / f"{name}.csv"
    if not file.exists():
        part = file.with_suffix(".part")
        with part.open("w", newline="") as stream:
            for row in measure():
                csv.writer(stream, lineterminator="\n").writerow(row)
                stream.flush()
        part.rename(file)
