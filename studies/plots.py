"""Parts that several figures of the studies consist of."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from context_agg.analysis.colours import COLORS

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

    Grey where a variant has no colour.
    """
    for row, (name, values) in enumerate(variants.items()):
        middle = (len(values) - 1) / 2
        places = [row + 0.16 * (seed - middle) for seed in range(len(values))]
        axes.plot(values, places, "o", color=colors.get(name, "0.45"), markersize=6)
    axes.set_yticks(range(len(variants)), list(variants))
    axes.set_ylim(len(variants) - 0.5, -0.5)
    axes.grid(alpha=0.3)
