"""The 2018 post repeated: automatic gradients, broken gradients, its draft, and controls."""

from matplotlib.figure import Figure

from context_agg.analysis.colours import COLORS, LINES
from studies.results import Curves, read_curves
from studies.study import Study
from studies.tables import plain_table

DEAD = 0.12  # test accuracy: one answer for every digit gets 0.1135
WORDS = {
    "auto": "automatic",
    "broken": "broken",
    "draft": "the whole draft",
    "broken_frozen": "frozen convolutions",
    "broken_mended": "broken, mended",
    "auto_faster": "automatic, lr 0.0025",
}


def recorded() -> dict[str, list[Curves]]:
    """The recorded curves, in words."""
    return {words: read_curves("post", part)[part] for part, words in WORDS.items()}


def plot_post() -> Figure:
    """The four panels of the 2018 post, a colour per experiment, a style of line per seed."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    for axes, scalar, title in zip(
        figure.subplots(2, 2).flat,
        ("train/loss", "val/loss", "train/accuracy", "val/accuracy"),
        ("cost, training", "cost, test", "accuracy, training", "accuracy, test"),
        strict=True,
    ):
        for color, (name, runs) in zip(COLORS, recorded().items(), strict=False):
            for line, curves in zip(LINES, runs, strict=False):
                epochs = range(1, len(curves[scalar]) + 1)
                axes.plot(epochs, curves[scalar], line, color=color, linewidth=0.9)
            if scalar == "train/loss":
                axes.lines[-len(runs)].set_label(name)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
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


STUDY = Study("post", figures={"post": plot_post}, tables={"post": post_table})
