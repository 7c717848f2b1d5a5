"""The same comparison on MNIST, other models beside it, and the module at its best."""

import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from context_agg.runs.curves import plot_bands
from studies.plots import RULES, draw_dots
from studies.results import read_curves
from studies.study import Study
from studies.tables import in_words, plain_table, scores, sweep_table

SHORT = ("test/accuracy", "final/accuracy")


MODELS = {
    "model-linear": "linear",
    "model-large": "large, C = 2",
    "model-plain": "plain, C = 16",
}


def accuracies(part: str) -> dict[str, list[float]]:
    """Test accuracy of every seed, by variant."""
    variants = scores("mnist", part)
    return {name: [run["test/accuracy"] for run in runs] for name, runs in variants.items()}


def plot_rules() -> Figure:
    """Test accuracy of every seed: all variants, and the right rules enlarged."""
    variants = {in_words(name): values for name, values in accuracies("backprop").items()}
    colors = {words: RULES[words.partition(",")[0]] for words in variants}
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    whole, enlarged = figure.subplots(1, 2, sharey=True)
    for axes in (whole, enlarged):
        draw_dots(axes, variants, colors)
    whole.set(xlabel="test accuracy", xlim=(0.865, 1))
    enlarged.set(xlabel="the same, from 0.985 to 0.99", xlim=(0.985, 0.99))
    return figure


def plot_models() -> Figure:
    """Test accuracy of every seed, with the same rule and start as the other models."""
    variants = {words: accuracies("models")[f"models/{name}"] for name, words in MODELS.items()}
    basic = accuracies("backprop")["backprop/backprop-manual_model.init-identity"]
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    draw_dots(axes, variants | {"basic, C = 16": basic}, {})
    axes.set(xlabel="test accuracy", xlim=(0.91, 1))
    return figure


def plot_best() -> Figure:
    """Held-out cost and accuracy of the best, a line per seed."""
    runs = read_curves("mnist", "best")["best"]
    return plot_bands({f"seed {seed}": [curves] for seed, curves in enumerate(runs)})


def superior_table() -> str:
    """The answers to "who gets superior results?": published ones, and ours."""
    automatic = [run["final/accuracy"] for run in scores("post", "auto")["auto"]]
    basic = accuracies("backprop")["backprop/backprop-manual_model.init-normal"]
    best = accuracies("best")["best"]
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
        "mnist": plot_rules,
        "models": plot_models,
        "best": plot_best,
    },
    tables={
        "mnist": lambda: sweep_table("mnist", {"backprop": ""}),
        "mnist_short": lambda: sweep_table("mnist", {"backprop": ""}, SHORT),
        "models": lambda: sweep_table("mnist", {"models": ""}),
        "best": lambda: sweep_table("mnist", {"best": "basic, 20 epochs"}),
        "superior": superior_table,
    },
)
