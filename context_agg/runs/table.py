"""Compares finished runs in tables and figures, and writes them."""

import csv
import statistics
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO, StringIO
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from context_agg.runs import atomic
from context_agg.runs.curves import plot_bands, read_curves
from context_agg.runs.directory import METRICS, SETTINGS
from context_agg.runs.page import differences, make_page
from context_agg.runs.records import check_format, read_scores
from context_agg.runs.settings import read_resolved

FILES = ("report.md", "report.csv", "runs.csv", "curves.csv", "report.png", "report.html")
Scores = Mapping[str, float]
"""The contents of a run's metrics.json."""

Row = dict[str, str | float]
"""A row of a table: its values by the names of the columns."""


class Report(NamedTuple):
    """The comparison of the runs below a folder.

    Attributes:
        table: in Markdown; empty if no run can be reported.
        left_out: a line for every run that cannot be reported: which, and why.
    """

    table: str
    left_out: list[str]


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
    columns = [column for column in columns if any(column in row for row in rows)]
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
    stream = StringIO(newline="")
    writer = csv.DictWriter(stream, list(names), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic.write(file, stream.getvalue().encode())


def epoch_rows(run: str, curves: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    """A row for every epoch of a run, from the values of each scalar by epoch."""
    for epoch, values in enumerate(zip(*curves.values(), strict=True), start=1):
        digits = (f"{value:.6g}" for value in values)
        yield {"run": run, "epoch": epoch, **dict(zip(curves, digits, strict=True))}


def read_run(run_dir: Path) -> tuple[Scores, dict[str, list[float]]]:
    """The scores and the curves of a finished run.

    Raises:
        OSError, ValueError: if it has another format, a file is damaged, or they do not fit
            together.
    """
    check_format(run_dir)
    scores, curves = read_scores(run_dir), read_curves(run_dir)
    epochs = {len(values) for values in curves.values()}
    if epochs != {scores["epochs"]}:
        raise ValueError(
            f"the event files of {run_dir} hold {', '.join(map(str, sorted(epochs)))} epochs, but "
            f"its {METRICS} says {scores['epochs']}"
        )
    return scores, curves


def write_report(folder: Path) -> Report:
    """Writes `FILES` into the folder; nothing if no run can be reported.

    Raises:
        FileNotFoundError: if there is no finished run, or no such folder.
    """
    scores: dict[str, dict[str, Scores]] = {}
    curves: dict[str, dict[str, dict[str, list[float]]]] = {}
    settings: dict[str, list[dict[str, Any]]] = {}
    left_out = []
    for variant, run_dirs in find_runs(folder).items():
        for run_dir in run_dirs:
            try:
                read = read_run(run_dir)
                chosen = read_resolved(run_dir) if (run_dir / SETTINGS).exists() else {}
            except (OSError, ValueError) as error:
                left_out.append(f"left out: {error}")
                continue
            name = str(run_dir.relative_to(folder))
            scores.setdefault(variant, {})[name], curves.setdefault(variant, {})[name] = read
            settings.setdefault(variant, []).append(chosen)
    if not scores:
        return Report("", left_out)
    rows = summarise({variant: list(runs.values()) for variant, runs in scores.items()})
    table = as_markdown(rows)
    runs = [{"run": name, **run} for group in scores.values() for name, run in group.items()]
    epochs = (epoch_rows(name, run) for group in curves.values() for name, run in group.items())
    picture = BytesIO()
    plots = {variant: list(group.values()) for variant, group in curves.items()}
    plot_bands(plots).savefig(picture, dpi=100)
    atomic.write(folder / "report.md", table.encode())
    write_csv(folder / "report.csv", rows)
    write_csv(folder / "runs.csv", runs)
    write_csv(folder / "curves.csv", list(chain.from_iterable(epochs)))
    atomic.write(folder / "report.png", picture.getvalue())
    page = make_page(folder, table, curves, differences(settings))
    atomic.write(folder / "report.html", page.encode())
    return Report(table, left_out)
