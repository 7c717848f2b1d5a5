"""Draws the alignment of gradients over a run from its gradients.csv."""

import csv
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

PANELS = (
    ("cosine", "cosine with the true gradient", -1.0, 1.0),
    ("norm_ratio", "norm, log10 of the ratio to the true gradient's", -1.0, 1.0),
    ("sign_agreement", "share of entries with the true sign", 0.0, 1.0),
)


class AlignmentTable:
    """The contents of gradients.csv.

    Attributes:
        steps: steps at which there are measurements.
        layers: names of the layers, in the order of the forward pass.
        values: an array (layers, steps) for each quantity, by name.
        loss_decrease: decrease of the loss in each measured step.
    """

    def __init__(self, rows: list[dict[str, str]]) -> None:
        self.steps = sorted({int(row["step"]) for row in rows})
        self.layers = list(dict.fromkeys(row["layer"] for row in rows))
        shape = len(self.layers), len(self.steps)
        self.values = {name: np.full(shape, np.nan) for name, *_ in PANELS}
        self.loss_decrease = np.full(len(self.steps), np.nan)
        for row in rows:
            i, j = self.layers.index(row["layer"]), self.steps.index(int(row["step"]))
            self.loss_decrease[j] = float(row["loss_decrease"])
            for name, values in self.values.items():
                values[i, j] = float(row[name])


def read_alignment(file: Path) -> AlignmentTable:
    """Reads a run's gradients.csv."""
    with file.open() as stream:
        return AlignmentTable(list(csv.DictReader(stream)))


def plot_alignment(table: AlignmentTable) -> Figure:
    """Draws three maps of layers by steps, and below them the decrease of the loss per step.

    White is 0 in the first two maps and 0.5 in the third, which is the agreement of random signs.
    Cells are grey where the true gradient is zero.
    """
    figure = Figure(figsize=(9, 2.2 + 3 * (0.6 + 0.17 * len(table.layers))), layout="constrained")
    heights = [0.6 + 0.17 * len(table.layers)] * 3 + [1.4]
    *maps, line = figure.subplots(4, 1, sharex=True, gridspec_kw={"height_ratios": heights})
    edges = _edges(table.steps)
    for axes, (name, title, low, high) in zip(maps, PANELS, strict=True):
        values: NDArray[np.float64] = table.values[name]
        if name == "norm_ratio":
            with np.errstate(divide="ignore"):
                values = np.log10(values).clip(low)  # -inf, a zero gradient, is red too
        axes.set_facecolor("0.7")
        rows = np.arange(len(table.layers) + 1)
        image = axes.pcolormesh(edges, rows, values, cmap="RdBu", vmin=low, vmax=high)
        axes.set_yticks(rows[:-1] + 0.5, table.layers, fontsize="small")
        axes.invert_yaxis()
        axes.set_title(title, fontsize="medium")
        figure.colorbar(image, ax=axes, aspect=10)
    line.plot(table.steps, table.loss_decrease, marker="." if len(table.steps) < 60 else "")
    line.axhline(0, color="0.5", linewidth=0.8)
    line.set_title("loss of the step's own batch, before less after", fontsize="medium")
    line.set_xlabel("step")
    line.grid(alpha=0.3)
    return figure


def _edges(steps: list[int]) -> list[float]:
    """The borders of the cells around the steps."""
    width = steps[1] - steps[0] if len(steps) > 1 else 1
    return [steps[0] - width / 2, *(step + width / 2 for step in steps)]
