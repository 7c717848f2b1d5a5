"""Compares finished runs in tables and figures, and writes them."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, NamedTuple

from context_agg.cli.places import check_folder
from context_agg.runs import atomic
from context_agg.runs.curves import plot_bands, read_curves
from context_agg.runs.directory import METRICS, SETTINGS
from context_agg.runs.intervals import Estimate, estimate, paired_difference
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
UNCOMPARED = ("seconds",)  # columns that depend on what else the machine does
RANGE = "± is half the 95 % interval of the mean over the seeds (Student's t)"
ROOTS = (
    "backprop|callbacks|checkpoint|compile|data|determinism|fresh|front_end|frozen|loss|model|"
    "optimizer|schedule|start_from|trainer"
)
"""What the key of a setting can begin with."""


def find_runs(folder: Path) -> dict[str, list[Path]]:
    """The finished runs below a folder, by variant: the path of a run in it without the seed.

    Raises:
        OSError: if there are none, or no such folder.
    """
    check_folder(folder)
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


def in_words(name: str) -> str:
    """A variant in words: `backprop-auto_optimizer.lr-0.003` -> `auto, lr 0.003`.

    A value that is a name stands alone; another one follows the last part of its key.
    """
    folder, slash, varied = name.rpartition("/")
    key = rf"(?:{ROOTS})(?:\.[a-z_.]+)?"
    settings = rf"(?:^|_)({key})-(.*?)(?=$|_{key}-)"

    def setting(match: re.Match[str]) -> str:
        stands_alone = match[2][:1].isalpha() and match[2] not in ("true", "false", "null")
        words = match[2] if stands_alone else f"{match[1].rpartition('.')[2]} {match[2]}"
        return f", {words.strip()}"

    return f"{folder}{slash}{re.sub(settings, setting, varied).removeprefix(', ')}"


def summarise(
    variants: Mapping[str, Mapping[str, Scores]], baselines: Mapping[str, str] | None = None
) -> list[Row]:
    """Makes a row per variant: the scores that all runs have, as means with 95 % intervals.

    For a score `x` the row holds `x` and `x ±`, see `intervals.Estimate`; if the variant has a
    baseline also `x difference` and `x difference ±`, over the seeds that both have. They are NaN
    where there are too few seeds.

    Args:
        variants: scores by seed, by variant.
        baselines: the variant that a variant is compared with, for those that are.
    """
    every = [run for runs in variants.values() for run in runs.values()]
    columns = [column for column in COLUMNS if every and all(column in run for run in every)]
    rows = []
    for variant, runs in variants.items():
        row: Row = {"variant": variant, "runs": len(runs)}
        for column in columns:
            values = {seed: run[column] for seed, run in runs.items()}
            _add(row, column, estimate(list(values.values())) if values else None)
            if baselines and column not in UNCOMPARED:
                others = variants.get(baselines.get(variant, ""), {})
                baseline = {seed: run[column] for seed, run in others.items()}
                _add(row, f"{column} difference", paired_difference(values, baseline))
        rows.append(row)
    return rows


def _add(row: Row, name: str, value: Estimate | None) -> None:
    row[name] = value.mean if value else float("nan")
    row[f"{name} ±"] = value.half if value else float("nan")


def as_markdown(rows: Sequence[Row], columns: Sequence[str] = COLUMNS) -> str:
    """Formats the rows as a table of `mean ± half the interval`, for those columns that exist.

    A variant of one run is called an example, as nothing is known of other seeds.
    """
    shown = []
    for column in columns:
        shown += [name for name in (column, f"{column} difference") if any(name in r for r in rows)]
    lines = [
        f"| variant | runs |{''.join(f' {name} |' for name in map(_title, shown))}",
        "| --- | ---: |" + " ---: |" * len(shown),
    ]
    for row in rows:
        runs = {0: "missing", 1: "1 (example)"}.get(int(row["runs"]), str(row["runs"]))
        cells = "".join(f" {cell(row, name)} |" for name in shown)
        lines.append(f"| {row['variant']} | {runs} |{cells}")
    return "\n".join(lines) + "\n"


def _title(name: str) -> str:
    return "difference" if name.endswith(" difference") else name


def cell(row: Row, name: str) -> str:
    """A column of a row of `summarise` as text: `mean ± half the interval`; "-" without a value."""
    nothing = float("nan")
    mean, half = row.get(name, nothing), row.get(f"{name} ±", nothing)
    sign = "+" if name.endswith(" difference") else ""
    digits = 1 if name == "seconds" else 4
    if mean != mean:
        return "-"
    return f"{mean:{sign}.{digits}f}" + (f" ± {half:.{digits}f}" if half == half else "")


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


def write_report(folder: Path, baseline: str | None = None) -> Report:
    """Writes `FILES` into the folder; nothing if no run can be reported.

    The seed of a run is that of its settings, or without settings the name of its directory.

    Args:
        folder: where the runs are, at any depth.
        baseline: the variant that the others are compared with, in words.

    Raises:
        FileNotFoundError: if there is no finished run, or no such folder.
        ValueError: if no variant is called like the baseline.
    """
    scores: dict[str, dict[str, Scores]] = {}
    curves: dict[str, dict[str, dict[str, list[float]]]] = {}
    settings: dict[str, list[dict[str, Any]]] = {}
    runs: list[Row] = []
    epochs: list[Row] = []
    left_out = []
    found = find_runs(folder)
    words = {variant: in_words(variant) for variant in found}
    if len(set(words.values())) < len(words):
        words = {variant: variant for variant in found}
    for variant, run_dirs in found.items():
        for run_dir in run_dirs:
            try:
                run_scores, run_curves = read_run(run_dir)
                chosen = read_resolved(run_dir) if (run_dir / SETTINGS).exists() else {}
            except (OSError, ValueError) as error:
                left_out.append(f"left out: {error}")
                continue
            name = str(run_dir.relative_to(folder))
            group = scores.setdefault(words[variant], {})
            seed = f"seed-{chosen['seed']}" if "seed" in chosen else run_dir.name
            copied = seed in group  # then it is paired with none
            group[str(run_dir.absolute()) if copied else seed] = run_scores
            curves.setdefault(words[variant], {})[name] = run_curves
            settings.setdefault(words[variant], []).append(chosen)
            runs.append({"run": name, **run_scores})
            epochs += epoch_rows(name, run_curves)
    if baseline is not None and baseline not in scores:
        names = "; ".join(scores)
        raise ValueError(
            f"no variant is called {baseline!r}, to be the baseline; there are {names}"
        )
    if not scores:
        return Report("", left_out)
    others = None if baseline is None else dict.fromkeys(scores.keys() - {baseline}, baseline)
    rows = summarise(scores, others)
    compared = ""
    if baseline is not None:
        compared = f"; difference: from {baseline}, same seeds"
        if not any(scores[variant].keys() & scores[baseline].keys() for variant in others or ()):
            compared = f"; no difference from {baseline}: no other run has a seed of its runs"
    table = f"{as_markdown(rows)}\n{RANGE}{compared}.\n"
    picture = BytesIO()
    plots = {variant: list(group.values()) for variant, group in curves.items()}
    plot_bands(plots).savefig(picture, dpi=100)
    atomic.write(folder / "report.md", table.encode())
    write_csv(folder / "report.csv", rows)
    write_csv(folder / "runs.csv", runs)
    write_csv(folder / "curves.csv", epochs)
    atomic.write(folder / "report.png", picture.getvalue())
    page = make_page(folder, table, curves, differences(settings))
    atomic.write(folder / "report.html", page.encode())
    return Report(table, left_out)
