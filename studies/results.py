"""Reads and writes the documents' numbers, small CSV files in docs/results."""

import csv
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from context_agg.runs.locks import locked
from context_agg.runs.table import write_csv

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
FIGURES = ROOT / "docs" / "figures"
LOCK = ".lock"  # name of the file in docs/results that a writer locks

Curves = dict[str, list[float]]
"""The values of each scalar, by epoch."""

Measure = Callable[[], Iterable[Sequence[str]]]
"""Returns the rows of a table; the first row names the columns."""


def read(name: str) -> list[dict[str, str]]:
    """The rows of docs/results/NAME.csv, or none if there is no such file."""
    file = RESULTS / f"{name}.csv"
    if not file.is_file():
        return []
    with file.open() as stream:
        return list(csv.DictReader(stream))


def curves_by_run(study: str) -> dict[str, Curves]:
    """The recorded curves of every run of a study."""
    runs: dict[str, Curves] = {}
    for row in read(f"{study}_curves"):
        curves = runs.setdefault(row.pop("run"), {})
        row.pop("epoch")
        for scalar, value in row.items():
            if value:
                curves.setdefault(scalar, []).append(float(value))
    return runs


def recorded_curves(study: str, part: str) -> dict[str, list[Curves]]:
    """The recorded curves of one part of a study: for each variant, those of its runs (seeds)."""
    variants: dict[str, list[Curves]] = {}
    for run, curves in curves_by_run(study).items():
        if run.startswith(f"{part}/"):
            variants.setdefault(run.rpartition("/")[0], []).append(curves)
    return variants


def add_rows(name: str, rows: Sequence[Mapping[str, object]], order: Sequence[str] = ()) -> None:
    """Adds the rows of runs to docs/results/NAME.csv, in the order of all runs.

    They replace earlier rows of the same runs. Missing values are left empty. Several processes may
    record at a time.
    """
    if not rows:
        return
    new = {row["run"] for row in rows}
    with locked(RESULTS / LOCK):
        every: list[Mapping[str, object]] = [row for row in read(name) if row["run"] not in new]
        every += rows
        place = {run: number for number, run in enumerate(order)}
        every.sort(key=lambda row: place.get(str(row["run"]), len(place)))
        write_csv(RESULTS / f"{name}.csv", every)


def measure(name: str, rows: Measure) -> None:
    """Measures docs/results/NAME.csv if it is missing, and records how long that took.

    A process that finds another at it waits for its result.
    """
    file = RESULTS / f"{name}.csv"
    if file.is_file():
        return
    part = file.with_suffix(".part")
    with locked(part):
        if file.is_file():  # by now
            part.unlink(missing_ok=True)
            return
        print(f"measuring {name}", flush=True)
        start = time.perf_counter()
        with part.open("w", newline="") as stream:
            for row in rows():
                csv.writer(stream, lineterminator="\n").writerow(row)
                stream.flush()
        part.rename(file)
    seconds = f"{time.perf_counter() - start:.0f}"
    with locked(RESULTS / LOCK):
        others = [row for row in read("seconds") if row["measurement"] != name]
        write_csv(RESULTS / "seconds.csv", [*others, {"measurement": name, "seconds": seconds}])
