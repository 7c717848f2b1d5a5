"""Writes the tables of the documents from the files in docs/results: `python docs/tables.py`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

import csv
import re
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
        variant = row.pop("run").rpartition("/")[0]
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


TABLES: dict[str, Callable[[Sequence[str]], str]] = {
    "digits": lambda columns: sweep_table("digits", columns),
    "mnist": lambda columns: sweep_table("mnist", columns),
    "models": lambda columns: sweep_table("models", columns),
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
