"""Brings the numbers of finished sweeps into the documents: `python docs/sweeps.py NAME...`.

The last step of `make results`, `make best`, `make post`, `make lecture` and `make scenes`: takes
the sweeps' runs.csv and curves.csv over into docs/results, and models to models/. Draws the figures
of all recorded sweeps and makes the documents' tables anew; without names only that.
"""

import csv
import shutil
import sys
from pathlib import Path

from matplotlib.figure import Figure
from recorded import FIGURES, RESULTS, ROOT, Curves, read_curves
from tables import write_tables

from context_agg.analysis.colours import COLORS, LINES
from context_agg.export import export
from context_agg.runs.curves import plot_bands
from context_agg.runs.table import Row, write_csv, write_report

SWEEPS = {  # by name: of each part its name, or none, and the folder that the Makefile's call makes
    "digits": {"": "sweep_backprop_model.init"},
    "mnist": {"": "sweep_backprop_model.init_data-mnist_trainer.max_epochs-3"},
    "models": {"": "sweep_model_data-mnist_trainer.max_epochs-3"},
    "best": {"": "sweep_experiment-best_mnist"},
    "lecture": {
        "": "sweep_model.init_experiment-lecture_mnist",
        "model-basic": "sweep_backprop-auto_experiment-lecture_mnist_model-basic",
    },
    "post": {
        "post_auto": "sweep_backprop-manual_experiment-post_auto",
        "post_broken": "sweep_experiment-post_broken",
        "draft_manual": "sweep_experiment-draft_manual",
        "post_broken, frozen": "sweep_experiment-post_broken_frozen-context-_trainer.max_epochs-30",
        "post_broken, manual": "sweep_backprop-manual_experiment-post_broken_trainer.max_epochs-20",
        "post_auto, faster": (
            "sweep_backprop-manual_experiment-post_auto_optimizer.lr-0.0025_trainer.max_epochs-20"
        ),
    },
    "scenes": {
        "front end": "scenes/front_end",
        "basic": "scenes/basic",
        "plain": "scenes/plain",
        "joint": "scenes/joint",
        "lifted": "scenes/lifted",
        "lifted, joint": "scenes/lifted_joint",
    },
    "scenes_rescue": {
        "xavier, lr 0.003": "scenes/faster",
        "xavier, 24 epochs": "scenes/longer",
        "kaiming": "scenes/kaiming",
        "identity, lifted, 24 epochs": "scenes/lifted_longer",
    },
    "scenes_short": {"basic": "scenes/short", "large": "scenes/large"},
}
MODELS = {  # of a sweep, the runs that the repository carries
    "mnist": {
        "basic_mnist": "sweep_backprop_model.init_data-mnist_trainer.max_epochs-3/"
        "backprop-manual_model.init-identity/seed-0"
    },
    "scenes": {
        "scenes_front_end": "scenes/front_end/seed-0",
        "scenes_xavier": "scenes/basic/model.init-xavier/seed-0",
        "scenes_identity": "scenes/basic/model.init-identity/seed-0",
    },
}


DRAWN = ("digits", "mnist", "models", "best", "lecture", "post", "scenes")


def collect(name: str, outputs: Path) -> None:
    """Takes a sweep's numbers over, and the models of it that the repository carries.

    Raises:
        FileNotFoundError: if a part of it has no finished runs.
    """
    folders = {part: outputs / folder for part, folder in SWEEPS[name].items()}
    for folder in folders.values():
        write_report(folder)
    for source, target in (("runs", name), ("curves", f"{name}_curves")):
        rows: list[Row] = []
        for part, folder in folders.items():
            with (folder / f"{source}.csv").open() as stream:
                for row in csv.DictReader(stream):
                    rows.append(row | {"run": f"{part}/{row['run']}" if part else row["run"]})
        write_csv(RESULTS / f"{target}.csv", rows)
    for model, run in MODELS.get(name, {}).items():
        shutil.rmtree(ROOT / "models" / model, ignore_errors=True)
        export(outputs / run, ROOT / "models" / model)


def plot_post(variants: dict[str, list[Curves]]) -> Figure:
    """The four panels of the 2018 post, a colour per experiment, a style of line per seed."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    for axes, scalar, title in zip(
        figure.subplots(2, 2).flat,
        ("train/loss", "val/loss", "train/accuracy", "val/accuracy"),
        ("cost, training", "cost, test", "accuracy, training", "accuracy, test"),
        strict=True,
    ):
        for color, (name, runs) in zip(COLORS, variants.items(), strict=False):
            for line, curves in zip(LINES, runs, strict=False):
                epochs = range(1, len(curves[scalar]) + 1)
                axes.plot(epochs, curves[scalar], line, color=color, linewidth=0.9)
            if scalar == "train/loss":
                axes.lines[-len(runs)].set_label(name)
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def main() -> None:
    """The command."""
    for name in sys.argv[1:]:
        collect(name, ROOT / "outputs")
    for name in DRAWN:
        if (RESULTS / f"{name}_curves.csv").exists():
            plot = plot_post if name == "post" else plot_bands
            plot(read_curves(name)).savefig(FIGURES / f"{name}.png", dpi=100)
    write_tables()


if __name__ == "__main__":
    main()
