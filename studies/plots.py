"""Parts that several figures of the studies consist of."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from context_agg.analysis.colours import COLORS
from context_agg.runs.intervals import Estimate, estimate
from context_agg.runs.table import Row

MISSING: dict[str, Any] = {"ha": "center", "va": "center", "color": "0.5"}

RULES = {"auto": COLORS[6], "manual": COLORS[0], "broken": COLORS[1]}
"""A colour for every rule; dark, medium and light in grey."""


def draw_seeds(
    axes: Axes,
    runs: Sequence[Sequence[float]],
    color: str,
    line: str = "-",
    label: str | None = None,
) -> None:
    """A value by epoch: a thin line per seed, all of them alike, and one label."""
    for number, values in enumerate(runs):
        (drawn,) = axes.plot(
            range(1, len(values) + 1), values, color=color, linestyle=line, linewidth=1.1
        )
        if label and not number:
            drawn.set_label(label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.grid(alpha=0.3)


def draw_dots(
    axes: Axes, variants: Mapping[str, Sequence[float]], colors: Mapping[str, str]
) -> None:
    """A row per variant, the first on top; in it a dot per seed, the first on top.

    Behind the dots of several seeds is the 95 % interval of their mean. Grey where a variant has no
    colour.
    """
    for row, (name, values) in enumerate(variants.items()):
        middle = (len(values) - 1) / 2
        apart = 0.16 if len(values) < 5 else 0.6 / len(values)
        places = [row + apart * (seed - middle) for seed in range(len(values))]
        color = colors.get(name, "0.45")
        if len(values) > 1:
            draw_interval(axes, row, estimate(values))
        axes.plot(values, places, "o", color=color, markersize=6 if len(values) < 5 else 4)
        if not values:
            axes.text(0.5, row, "missing", transform=axes.get_yaxis_transform(), **MISSING)
    axes.set_yticks(range(len(variants)), list(variants))
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.grid(alpha=0.3)


def draw_interval(axes: Axes, row: float, value: Estimate) -> None:
    """A mean as a stroke, and its 95 % interval as a bar."""
    axes.use_sticky_edges = False  # a bar does not end at the frame
    axes.barh(row, 2 * value.half, 0.7, value.mean - value.half, color="0.88", zorder=0)
    axes.plot([value.mean] * 2, [row - 0.35, row + 0.35], color="0.5", zorder=1)


def draw_differences(axes: Axes, rows: Sequence[Row], score: str) -> None:
    """A row per variant: its mean difference from its baseline, and the 95 % interval of that."""
    for place, row in enumerate(rows):
        mean, half = float(row[f"{score} difference"]), float(row[f"{score} difference ±"])
        if half == half:
            draw_interval(axes, place, Estimate(mean, half, 0))
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [""] * len(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(alpha=0.3)


def mark_missing(axes: Axes) -> None:
    """Says that nothing has been recorded yet of what a panel shows."""
    axes.text(0.5, 0.5, "missing", transform=axes.transAxes, **MISSING)
