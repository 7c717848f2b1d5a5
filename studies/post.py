"""The 2018 post repeated: automatic gradients, broken gradients, its draft, and controls."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from context_agg.analysis.colours import COLORS
from studies.plots import draw_seeds, mark_missing
from studies.results import Curves, recorded_curves
from studies.study import Study
from studies.tables import plain_table, sweep_table

DEAD = 0.12  # test accuracy: one answer for every digit gets 0.1135
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


STUDY = Study(
    "post",
    figures={"post": plot_post},
    tables={"post": post_table, "post_means": means_table},
)
