"""Collects the runs that repeat the 2018 post: the last step of `make post`.

Takes the curves of the finished runs over into docs/results/post.csv (a row per run and epoch),
draws docs/figures/post.png from it, and makes the documents' tables anew.
"""

import csv
from pathlib import Path

from matplotlib.figure import Figure
from tables import RESULTS, ROOT, read, write_tables

from context_agg.analysis.curves import COLORS, LINES, SCALARS, read_curves
from context_agg.run_directory import METRICS

SWEEPS = {  # by name, a pattern for where `make post` has put the runs
    "post_auto": "sweep_backprop-manual_experiment-post_auto",
    "post_broken": "sweep_experiment-post_broken",
    "draft_manual": "sweep_experiment-draft_manual*",
    "post_broken, frozen": "sweep_experiment-post_broken_frozen-context-_trainer.max_epochs-30",
}
PANELS = ("train/loss", "val/loss", "train/accuracy", "val/accuracy")
TITLES = ("cost, training", "cost, test", "accuracy, training", "accuracy, test")

Curves = dict[str, list[float]]
"""By scalar, its values by epoch."""


def collect(outputs: Path) -> None:
    """Writes the CSV file anew, where there are finished runs; else leaves it alone."""
    rows = [
        [name, run_dir.name, epoch, *(f"{value:.4f}" for value in values)]
        for name, folder in SWEEPS.items()
        for run_dir in sorted(outputs.glob(f"{folder}/seed-*"))
        if (run_dir / METRICS).is_file()
        for epoch, values in enumerate(zip(*read_curves(run_dir).values(), strict=True), start=1)
    ]
    if rows:
        with (RESULTS / "post.csv").open("w", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["experiment", "run", "epoch", *SCALARS])
            writer.writerows(rows)


def read_runs() -> dict[str, dict[str, Curves]]:
    """The curves by experiment and run."""
    runs: dict[str, dict[str, Curves]] = {}
    for row in read("post"):
        curves = runs.setdefault(row["experiment"], {}).setdefault(row["run"], {})
        for scalar in SCALARS:
            curves.setdefault(scalar, []).append(float(row[scalar]))
    return runs


def plot(runs: dict[str, dict[str, Curves]]) -> Figure:
    """The post's four panels, a colour per experiment, a style of line per seed."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    for axes, scalar, title in zip(figure.subplots(2, 2).flat, PANELS, TITLES, strict=True):
        for color, (name, seeds) in zip(COLORS, runs.items(), strict=False):
            for line, curves in zip(LINES, seeds.values(), strict=False):
                epochs = range(1, len(curves[scalar]) + 1)
                label = name if line == LINES[0] else None
                axes.plot(epochs, curves[scalar], line, color=color, linewidth=0.9, label=label)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    figure.axes[3].legend(fontsize="small")
    return figure


def main() -> None:
    """The command."""
    collect(ROOT / "outputs")
    plot(read_runs()).savefig(ROOT / "docs" / "figures" / "post.png", dpi=100)
    write_tables()


if __name__ == "__main__":
    main()
