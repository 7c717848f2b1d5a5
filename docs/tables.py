"""Writes the tables of the documents from the files in docs/results: `python docs/tables.py`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`.
"""

import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from recorded import ROOT, read, read_curves

from context_agg.analysis.filters import costs
from context_agg.runs.table import COLUMNS, as_markdown, summarise

DOCUMENTS = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("results", "gradients", "convolutions", "dense")),
)
SHORT = ("test/accuracy", "final/accuracy")  # README's columns of a sweep
DEAD = 0.12  # test accuracy: one answer for every digit gets 0.1135


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


def cost_table() -> str:
    """Weights of the kinds of convolution, for three layers."""
    layers = {
        "5x5, 1 to 32": (5, 1, 32),
        "5x5, 32 to 64": (5, 32, 64),
        "3x3, 16 to 16": (3, 16, 16),
    }
    rows = []
    for name, layer in layers.items():
        weights = {kind: f"{cost.weights:,}" for kind, cost in costs(*layer).items()}
        rows.append({"kernel, maps in to out": name} | weights)
    return plain_table(rows)


def start_table() -> str:
    """Median cosines of the layers, to two digits."""
    rows = read("start_cosines")
    for row in rows:
        for name in list(row)[1:]:
            row[name] = f"{float(row[name]):.2f}"
    return plain_table(rows)


DENSE = ("test/iou", "test/accuracy")


def rescue_table() -> str:
    """The sweep of what rescues random starts, and batch normalisation."""
    table = sweep_table("scenes_rescue", ("test/iou",))
    ious = [float(row["test/iou"]) for row in read("scenes_normalised")]
    spread = f"{statistics.fmean(ious):.4f} ± {statistics.stdev(ious):.4f}"
    return table + f"| xavier, batch normalisation | {len(ious)} | {spread} |\n"


def post_table() -> str:
    """A row per run: final and best test accuracy, where the best was, and whether it is dead."""
    return plain_table(
        [
            {
                "experiment": experiment,
                "seed": str(seed),
                "final accuracy": f"{values[-1]:.3f}",
                "best": f"{max(values):.3f}",
                "at epoch": f"{values.index(max(values)) + 1} of {len(values)}",
                "dead": "yes" if values[-1] < DEAD else "no",
            }
            for experiment, runs in read_curves("post").items()
            for seed, values in enumerate(curves["val/accuracy"] for curves in runs)
        ]
    )


MNIST_IMAGES = 60_000  # learnt from in an epoch, where the test images are held out
LECTURE = {1: "0.9131", 2: "0.9363", 3: "0.9478", 5: "0.9573", 10: "0.971", 25: "0.9818"}
"""Published test accuracy by epoch; about 250 s an epoch."""


def lecture_table() -> str:
    """Test accuracy after so many epochs."""
    rows = [{"run": "the lecture (published)"} | {str(k): v for k, v in LECTURE.items()}]
    for name, (curves,) in read_curves("lecture").items():
        accuracies = curves["val/accuracy"]
        rows.append({"run": name} | {str(k): f"{accuracies[k - 1]:.4f}" for k in LECTURE})
    return plain_table(rows)


def lecture_time_table() -> str:
    """Test accuracy after the last epoch that ends within so many minutes, at measured speeds."""
    rows = []
    curves = read_curves("lecture")
    for speed in read("lecture_speed"):
        (run,) = curves[speed["run"]]
        row = {"run": speed["run"], "images/s": speed["images/s"]}
        for minutes in (2, 5, 10, 20, 30):
            epochs = int(60 * minutes * float(speed["images/s"]) / MNIST_IMAGES)
            ended = 0 < epochs <= len(run["val/accuracy"])
            row[f"{minutes} min"] = f"{run['val/accuracy'][epochs - 1]:.4f}" if ended else "-"
        rows.append(row)
    return plain_table(rows)


def superior_table() -> str:
    """The answers to "who gets superior results?": published ones, and ours."""
    automatic = [curves["val/accuracy"][-1] for curves in read_curves("post")["post_auto"]]
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
    "views": lambda columns: plain_table(read("views")),
    "layers": lambda columns: plain_table(read("layers")),
    "costs": lambda columns: cost_table(),
    "kronecker": lambda columns: plain_table(read("kronecker")),
    "scenes": lambda columns: sweep_table("scenes", DENSE),
    "scenes_short": lambda columns: sweep_table("scenes_short", DENSE),
    "scenes_rescue": lambda columns: rescue_table(),
    "scenes_cut": lambda columns: plain_table(read("scenes_cut")),
    "scenes_signal": lambda columns: plain_table(read("scenes_signal")),
    "post": lambda columns: post_table(),
    "lecture": lambda columns: lecture_table(),
    "lecture_time": lambda columns: lecture_time_table(),
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
