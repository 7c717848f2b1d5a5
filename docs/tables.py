"""Writes the tables of the documents from the files in docs/results: `python docs/tables.py`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

import csv
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from context_agg.report import COLUMNS, as_markdown, summarise

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "gradients.md")
SHORT = ("test/accuracy", "final/accuracy")  # README's columns of a sweep
DEAD = 0.12  # test accuracy: one answer for every digit gets 0.1135


def read(name: str) -> list[dict[str, str]]:
    """The rows of docs/results/NAME.csv."""
    with (RESULTS / f"{name}.csv").open() as stream:
        return list(csv.DictReader(stream))


def sweep_table(name: str, columns: Sequence[str]) -> str:
    """Mean and spread over seeds of every variant of a sweep."""
    variants: dict[str, list[dict[str, float]]] = {}
    for row in read(name):
        variant = row.pop("run").rpartition("/")[0] or name
        scores = {column: float(value) for column, value in row.items()}
        variants.setdefault(variant, []).append(scores)
    return as_markdown(summarise(variants), columns)


def plain_table(rows: Sequence[dict[str, str]]) -> str:
    """The rows as they are; numbers to the right."""
    first, *others = rows[0]
    lines = [f"| {' | '.join(rows[0])} |", f"| {'---'} |" + " ---: |" * len(others)]
    lines += [f"| {row[first]} | {' | '.join(row[name] for name in others)} |" for row in rows]
    return "\n".join(lines) + "\n"


def start_table() -> str:
    """Median cosines of the layers, to two digits."""
    rows = read("start_cosines")
    for row in rows:
        for name in list(row)[1:]:
            row[name] = f"{float(row[name]):.2f}"
    return plain_table(rows)


def post_table() -> str:
    """A row per run: final and best test accuracy, where the best was, and whether it is dead."""
    accuracies: dict[tuple[str, str], list[float]] = {}
    for row in read("post"):
        key = row["experiment"], row["run"]
        accuracies.setdefault(key, []).append(float(row["val/accuracy"]))
    return plain_table(
        [
            {
                "experiment": experiment,
                "run": run,
                "final accuracy": f"{values[-1]:.3f}",
                "best": f"{max(values):.3f}",
                "at epoch": f"{values.index(max(values)) + 1} of {len(values)}",
                "dead": "yes" if values[-1] < DEAD else "no",
            }
            for (experiment, run), values in accuracies.items()
        ]
    )


def superior_table() -> str:
    """The answers to "who gets superior results?": published ones, and ours."""
    post: dict[str, list[float]] = {}
    for row in read("post"):
        post.setdefault(f"{row['experiment']}/{row['run']}", []).append(float(row["val/accuracy"]))
    automatic = [values[-1] for name, values in post.items() if name.startswith("post_auto/")]
    basic = [
        float(row["test/accuracy"])
        for row in read("mnist")
        if row["run"].startswith("backprop-manual_model.init-normal/")
    ]
    best = [float(row["test/accuracy"]) for row in read("best")]
    return plain_table(
        [
            {"MNIST": name, "test accuracy": accuracy, "runs": str(runs)}
            for name, accuracy, runs in (
                ("the post, automatic gradients (published)", "about 0.77", 1),
                ("the lecture, 25 epochs (published)", "0.9818", 1),
                ("`post_auto`: the post's network, 150 epochs", _mean(automatic), len(automatic)),
                ("`basic`, `manual`, normal, 3 epochs", _mean(basic), len(basic)),
                ("`experiment=best_mnist`", _mean(best), len(best)),
            )
        ]
    )


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.fmean(values):.4f}"


TABLES: dict[str, Callable[[Sequence[str]], str]] = {
    "digits": lambda columns: sweep_table("digits", columns),
    "mnist": lambda columns: sweep_table("mnist", columns),
    "models": lambda columns: sweep_table("models", columns),
    "best": lambda columns: sweep_table("best", columns),
    "superior": lambda columns: superior_table(),
    "starts": lambda columns: start_table(),
    "catch": lambda columns: plain_table(read("catch")),
    "post": lambda columns: post_table(),
}


def with_tables(document: Path) -> str:
    """The document's text with its tables made anew."""
    columns = SHORT if document.name == "README.md" else COLUMNS

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}\n{TABLES[match[2]](columns)}{match[3]}"

    pattern = r"(<!-- table (\w+) -->)\n.*?(<!-- end -->)"
    return re.sub(pattern, fill, document.read_text(), flags=re.DOTALL)


def write_tables() -> None:
    """Makes the tables of all documents anew."""
    for document in DOCUMENTS:
        document.write_text(with_tables(document))


if __name__ == "__main__":
    write_tables()
