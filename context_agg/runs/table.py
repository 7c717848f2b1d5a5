"""Compares finished runs in tables and figures, and writes them."""

import csv
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from context_agg.runs.curves import plot_bands, read_curves
from context_agg.runs.directory import METRICS, read_json

FILES = ("report.md", "report.csv", "runs.csv", "curves.csv", "report.png")
Scores = Mapping[str, float]
"""The contents of a run's metrics.json."""

Row = dict[str, str | float]
"""A row of a table: its values by the names of the columns."""

COLUMNS = ("test/iou", "test/loss", "test/accuracy", "final/accuracy", "seconds")


def find_runs(folder: Path) -> dict[str, list[Path]]:
    """The finished runs below a folder, by variant: the path of a run in it without the seed.

    Raises:
        FileNotFoundError: if there are none, or no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    variants: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob(METRICS)):
        run_dir = file.parent
        path = run_dir.relative_to(folder)
        variant = path.parent if path.name.startswith("seed-") else path
        name = str(variant) if variant.parts else folder.absolute().name  # if only the seed varies
        variants.setdefault(name, []).append(run_dir)
    if not variants:
        raise FileNotFoundError(f"there is no finished run ({METRICS}) below {folder}")
    return variants


def summarise(variants: Mapping[str, Sequence[Scores]]) -> list[Row]:
    """Makes a row per variant: number of runs, mean and spread of the scores that all runs have.

    The spread is the sample standard deviation; for a single run it is NaN.
    """
    every = [run for runs in variants.values() for run in runs]
    columns = [column for column in COLUMNS if all(column in run for run in every)]
    rows = []
    for variant, runs in variants.items():
        row: Row = {"variant": variant, "runs": len(runs)}
        for column in columns:
            values = [run[column] for run in runs]
            row[column] = statistics.fmean(values)
            row[f"{column} spread"] = statistics.stdev(values) if len(values) > 1 else float("nan")
        rows.append(row)
    return rows


def as_markdown(rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> str:
    """Formats the rows as a table of `mean ± spread`, for those of the columns that exist."""
    columns = [column for column in columns if column in rows[0]]
    lines = [
        f"| variant | runs | {' | '.join(columns)} |",
        "| --- | ---: |" + " ---: |" * len(columns),
    ]
    for row in rows:
        cells = []
        for column in columns:
            digits = 1 if column == "seconds" else 4
            mean, spread = row[column], row[f"{column} spread"]
            cells.append(
                f"{mean:.{digits}f} ± {spread:.{digits}f}"
                if spread == spread
                else f"{mean:.{digits}f}"
            )
        lines.append(f"| {row['variant']} | {row['runs']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_csv(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows under the names of all their columns; leaves missing values empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def epoch_rows(run: str, curves: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    """A row for every epoch of a run, from the values of each scalar by epoch."""
    for epoch, values in enumerate(zip(*curves.values(), strict=True), start=1):
        digits = (f"{value:.6g}" for value in values)
        yield {"run": run, "epoch": epoch, **dict(zip(curves, digits, strict=True))}


def write_report(folder: Path) -> str:
    """Writes `FILES` into the folder; returns the table."""
    variants = find_runs(folder)
    scores: dict[str, list[Scores]] = {
        variant: [read_json(run_dir / METRICS) for run_dir in run_dirs]
        for variant, run_dirs in variants.items()
    }
    curves = {
        variant: {str(run_dir.relative_to(folder)): read_curves(run_dir) for run_dir in run_dirs}
        for variant, run_dirs in variants.items()
    }
    rows = summarise(scores)
    table = as_markdown(rows)
    (folder / "report.md").write_text(table)
    write_csv(folder / "report.csv", rows)
    write_csv(
        folder / "runs.csv",
        [
            {"run": str(run_dir.relative_to(folder)), **run}
            for variant in variants
            for run_dir, run in zip(variants[variant], scores[variant], strict=True)
        ],
    )
    epochs = (epoch_rows(run, scalars) for runs in curves.values() for run, scalars in runs.items())
    write_csv(folder / "curves.csv", list(chain.from_iterable(epochs)))
    plots = {variant: list(runs.values()) for variant, runs in curves.items()}
    plot_bands(plots).savefig(folder / "report.png", dpi=100)
    return table
