"""auto, manual and broken on scikit-learn's digits: the comparison of `make sweep`."""

from matplotlib.figure import Figure

from studies.plots import RULES, draw_seeds
from studies.results import recorded_curves
from studies.study import Study
from studies.tables import sweep_table, variant_in_words

SHORT = ("test/accuracy", "final/accuracy")
STARTS = {"identity": "-", "normal": "--"}  # by start, the style of its lines
BASELINES = {
    f"{rule}, {start}": f"auto, {start}" for rule in ("manual", "broken") for start in STARTS
}


def plot_digits() -> Figure:
    """Held-out accuracy by epoch of every seed, a row per start; on the right from 0.9."""
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    panels = dict(zip(STARTS, figure.subplots(2, 2, sharex=True), strict=True))
    for variant, runs in recorded_curves("digits", "backprop").items():
        words = variant_in_words(variant)
        rule, start = words.split(", ")
        accuracies = [curves["val/accuracy"] for curves in runs]
        for axes in panels[start]:
            draw_seeds(axes, accuracies, RULES[rule], STARTS[start], words)
    for whole, enlarged in panels.values():
        whole.set(ylabel="held-out accuracy", ylim=(0, 1.02))
        enlarged.set(ylabel="the same, from 0.9", ylim=(0.9, 1.002))
        whole.legend(loc=(0.12, 0.03))
    for axes in panels["normal"]:
        axes.set_xlabel("epoch")
    return figure


STUDY = Study(
    "digits",
    figures={"digits": plot_digits},
    tables={
        "digits": lambda: sweep_table("digits", {"backprop": ""}, baselines=BASELINES),
        "digits_short": lambda: sweep_table("digits", {"backprop": ""}, SHORT),
    },
)
