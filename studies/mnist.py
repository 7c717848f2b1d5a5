"""The same comparison on MNIST, other models for reference, and the module at its best."""

import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from context_agg.runs.curves import plot_bands
from studies.results import read_curves
from studies.study import Study
from studies.tables import in_words, plain_table, scores, sweep_table

SHORT = ("test/accuracy", "final/accuracy")


def plot_part(part: str) -> Figure:
    """Held-out cost and accuracy of a part of the study."""
    curves = read_curves("mnist", part)
    return plot_bands({in_words(name) or part: runs for name, runs in curves.items()})


def superior_table() -> str:
    """The answers to "who gets superior results?": published ones, and ours."""
    automatic = [run["final/accuracy"] for run in scores("post", "auto")["auto"]]
    variants = scores("mnist", "backprop")
    basic = [run["test/accuracy"] for run in variants["backprop/backprop-manual_model.init-normal"]]
    best = [run["test/accuracy"] for run in scores("mnist", "best")["best"]]
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


STUDY = Study(
    "mnist",
    models={"basic_mnist": "backprop/backprop-manual_model.init-identity/seed-0"},
    figures={
        "mnist": lambda: plot_part("backprop"),
        "models": lambda: plot_part("models"),
        "best": lambda: plot_part("best"),
    },
    tables={
        "mnist": lambda: sweep_table("mnist", {"backprop": ""}),
        "mnist_short": lambda: sweep_table("mnist", {"backprop": ""}, SHORT),
        "models": lambda: sweep_table("mnist", {"models": ""}),
        "best": lambda: sweep_table("mnist", {"best": "basic, 20 epochs"}),
        "superior": superior_table,
    },
)
