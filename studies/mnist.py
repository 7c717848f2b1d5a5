"""The same comparison on MNIST, other models for reference, and the module at its best."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from context_agg.analysis.colours import COLORS
from context_agg.runs.intervals import estimate
from studies.digits import BASELINES
from studies.plots import RULES, draw_dots, draw_seeds, mark_missing
from studies.results import recorded_curves
from studies.study import Study
from studies.tables import plain_table, scores, sweep_table

OTHER_START = {f"{rule}, normal": f"{rule}, identity" for rule in RULES}
MODELS = {
    "model-linear": "linear",
    "model-large": "large, C = 2",
    "model-plain": "plain, C = 16",
}


def accuracies(part: str) -> dict[str, list[float]]:
    """Test accuracy of every seed, by variant."""
    variants = scores("mnist", part)
    return {
        name: [run["test/accuracy"] for run in runs.values()] for name, runs in variants.items()
    }


def plot_rules() -> Figure:
    """Test accuracy of every seed: all variants, and the right rules enlarged."""
    variants = {
        f"{rule}, {start}": accuracies("backprop")[f"backprop/backprop-{rule}_model.init-{start}"]
        for rule in RULES
        for start in ("identity", "normal")
    }
    colors = {words: RULES[words.partition(",")[0]] for words in variants}
    right = {words: values for words, values in variants.items() if "broken" not in words}
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    whole, enlarged = figure.subplots(1, 2)
    draw_dots(whole, variants, colors)
    draw_dots(enlarged, right, colors)
    whole.set(xlabel="test accuracy")
    whole.set_xlim(right=1)  # intervals of few seeds go beyond
    enlarged.set(xlabel="the same, enlarged")
    enlarged.xaxis.set_major_locator(MaxNLocator(4))
    return figure


def plot_models() -> Figure:
    """Test accuracy of every seed, with the same rule and start as the other models."""
    variants = {words: accuracies("models")[f"models/{name}"] for name, words in MODELS.items()}
    basic = accuracies("backprop")["backprop/backprop-manual_model.init-identity"]
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    draw_dots(axes, variants | {"basic, C = 16": basic}, {})
    axes.set(xlabel="test accuracy")
    return figure


def plot_best() -> Figure:
    """Held-out cost and accuracy of the best by epoch, a line per seed."""
    runs = recorded_curves("mnist", "best").get("best", [])
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, scalar, label in (
        (left, "val/loss", "held-out cost"),
        (right, "val/accuracy", "held-out accuracy"),
    ):
        for seed, curves in enumerate(runs):
            draw_seeds(axes, [curves[scalar]], COLORS[seed], label=f"seed {seed}")
        axes.set(xlabel="epoch", ylabel=label)
    left.set_ylim(bottom=0)
    if runs:
        left.legend()
    else:
        for axes in (left, right):
            mark_missing(axes)
    return figure


def superior_table() -> str:
    """The answers to "who gets superior results?": published ones, and ours."""
    automatic = [run["final/accuracy"] for run in scores("post", "auto")["auto"].values()]
    basic = accuracies("backprop")["backprop/backprop-manual_model.init-normal"]
    best = accuracies("best").get("best", [])
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
    if not values:
        return "missing"
    mean, half, _ = estimate(values)
    return f"{mean:.4f} ± {half:.4f}"


STUDY = Study(
    "mnist",
    models={
        "basic_mnist": ("backprop/backprop-manual_model.init-identity/seed-0",),
        "best_mnist": ("best/seed-0", "best/seed-1", "best/seed-2"),
    },
    figures={
        "mnist": plot_rules,
        "models": plot_models,
        "best": plot_best,
    },
    tables={
        "mnist": lambda: sweep_table("mnist", {"backprop": ""}, baselines=BASELINES),
        "mnist_starts": lambda: sweep_table(
            "mnist", {"backprop": ""}, ("test/accuracy",), OTHER_START
        ),
        "models": lambda: sweep_table("mnist", {"models": ""}),
        "best": lambda: sweep_table("mnist", {"best": "basic, 20 epochs"}),
        "superior": superior_table,
    },
)
