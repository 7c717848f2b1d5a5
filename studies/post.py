"""The 2018 post repeated: automatic gradients, broken gradients, its draft, and controls."""

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from context_agg.analysis.colours import COLORS
from context_agg.runs.table import cell
from studies.plots import RULES, draw_differences, draw_dots, draw_seeds, mark_missing
from studies.results import Curves, recorded_curves
from studies.study import Study
from studies.tables import Runs, compared, plain_table, sweep_table

DEAD = 0.12  # test accuracy: one answer for every digit gets 0.1135 or less
WORDS = {
    "auto": "automatic",
    "broken": "broken",
    "draft": "the whole draft",
    "broken_frozen": "frozen convolutions",
    "broken_mended": "broken, mended",
    "auto_faster": "automatic, lr 0.0025, 20 epochs",
    "auto_faster_longer": "automatic, lr 0.0025, 150 epochs",
    "auto_draft": "the automatic draft",
}
PUBLISHED = {
    "automatic": 0.77,
    "automatic, lr 0.0025, 150 epochs": 0.77,
    "the automatic draft": 0.77,
    "broken": 0.75,
    "the whole draft": 0.75,
}
"""By experiment, the post's test accuracy, of automatic and of manual gradients."""
SEEDS = (COLORS[6], COLORS[0], COLORS[1])


def recorded() -> dict[str, list[Curves]]:
    """The recorded curves, in words."""
    return {words: recorded_curves("post", part).get(part, []) for part, words in WORDS.items()}


def plot_post() -> Figure:
    """Test accuracy by epoch, a panel per experiment and a line per seed."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    panels = figure.subplots(2, 4, sharey=True)
    for axes, (name, runs) in zip(panels.flat, recorded().items(), strict=True):
        for seed, curves in enumerate(runs):
            draw_seeds(axes, [curves["val/accuracy"]], SEEDS[seed], label=f"seed {seed}")
        if name in PUBLISHED:
            axes.axhline(PUBLISHED[name], color="0.4", linestyle="--", label="published")
        if not runs:
            mark_missing(axes)
        epochs = f"\n{len(runs[0]['val/accuracy'])} epochs" if runs else ""
        title = name.replace(", 20 epochs", "").replace(", 150 epochs", "")
        axes.set_title(f"{title}{epochs}", fontsize="medium")
        axes.set_ylim(0, 1)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in panels[:, 0]:
        axes.set_ylabel("test accuracy")
    for axes in panels[1]:
        axes.set_xlabel("epoch")
    panels[0, 0].legend(loc="lower right")
    return figure


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
            for experiment, runs in recorded().items()
            for seed, values in enumerate(curves["val/accuracy"] for curves in runs)
        ]
    )


def means_table() -> str:
    """The mean of every experiment; the numbers of epochs differ."""
    return sweep_table("post", WORDS, ("final/accuracy", "test/accuracy"))


def accuracies_table(variants: Mapping[str, Runs], baselines: str | Mapping[str, str]) -> str:
    """Of networks of the post: how many are dead after the last epoch, and the accuracies.

    Args:
        variants: the recorded runs, in words.
        baselines: what the variants are compared with: one for all, or by variant.
    """
    table = []
    for row in compared(variants, baselines):
        name = str(row["variant"])
        runs = variants[name].values()
        dead = sum(run["final/accuracy"] < DEAD for run in runs)
        table.append(
            {
                "variant": name,
                "dead at the end": f"{dead} of {len(runs)}" if runs else "missing",
                "final/accuracy": cell(row, "final/accuracy"),
                "final difference": cell(row, "final/accuracy difference"),
                "test/accuracy": cell(row, "test/accuracy"),
                "test difference": cell(row, "test/accuracy difference"),
            }
        )
    return plain_table(table)


def draw_accuracies(
    variants: Mapping[str, Runs], baselines: str | Mapping[str, str], budget: str, difference: str
) -> Figure:
    """Of the same networks: final accuracy, a dot per seed, and the paired differences.

    Args:
        variants: the recorded runs, in words.
        baselines: what the variants are compared with: one for all, or by variant.
        budget: how long the networks were trained, for the label of the left panel.
        difference: label of the right panel.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    accuracies = {name: [r["final/accuracy"] for r in of.values()] for name, of in variants.items()}
    colors = {
        name: RULES["manual" if name.startswith("right") else "broken"]
        for name in variants
        if name.startswith(("right gradients", "broken"))
    }
    draw_dots(left, accuracies, colors)
    left.set(xlabel=f"test accuracy after {budget}", xlim=(0, 1))
    if any(accuracies.values()):
        draw_differences(right, compared(variants, baselines), "final/accuracy")
    else:
        mark_missing(right)
    right.set(xlabel=difference)
    return figure


STUDY = Study(
    "post",
    figures={"post": plot_post},
    tables={"post": post_table, "post_means": means_table},
)
