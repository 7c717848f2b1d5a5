"""The tables and figures of docs/benchmarks.md, from the records alone."""

from collections.abc import Callable, Mapping
from statistics import median, quantiles
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.peers import PEERS
from benchmarks.record import Record, read
from benchmarks.turns import Measurement
from context_agg.analysis.colours import COLORS, LINES
from studies.results import FIGURES as FOLDER
from studies.tables import plain_table

STEP, OPS, SCALING = "benchmarks_step", "benchmarks_ops", "benchmarks_scaling"
COMMANDS = "benchmarks_commands"

Timed = Mapping[str, Any]
"""What a record has of one thing that was timed: its milliseconds, by round, and more."""

COLOURS = {  # ours are blue
    "ours": COLORS[0],
    "our_run": COLORS[5],
    "pytorch": COLORS[1],
    "channels_last": COLORS[2],
    "lightning": COLORS[4],
    "keras": COLORS[3],
    "flax": COLORS[6],
}
FRAMEWORKS = ("keras", "flax")
GOALS = [  # C, peers of which the faster counts, times as fast; set before anything was measured
    (8, FRAMEWORKS, 3.5),
    (16, FRAMEWORKS, 2.4),
    (32, FRAMEWORKS, 1.8),
    (16, ("lightning",), 2.0),
]
AXES = {"batch": "images", "channels": "C", "side": "side, pixels", "dilation": "dilation"}


def best(timed: Timed) -> float:
    """The shortest time, in milliseconds."""
    return float(min(timed["milliseconds"]))


def ratios(timed: Timed, own: Timed) -> list[float]:
    """How many times as long as ours it took, round by round."""
    pairs = zip(timed["milliseconds"], own["milliseconds"], strict=True)
    return [time / mine for time, mine in pairs]


def share(gigaflops: float, timed: Timed, measured: Measurement) -> str:
    """The share of the multiply-add limit, best against best."""
    limit = max(measured["limit_gigaflops_per_second"])
    return f"{100_000 * gigaflops / best(timed) / limit:.0f} %"


def with_quartiles(numbers: list[float], form: str) -> str:
    """The median, and between which numbers the middle half lies."""
    low, middle, high = quantiles(numbers, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def step_table() -> str:
    """A row for each C and peer."""
    rows = []
    for measured in read(STEP)["measurements"]:
        ours = measured["peers"]["ours"]
        for name, timed in measured["peers"].items():
            rows.append(
                {
                    "C, peer": f"{measured['channels']}, {PEERS[name].title}",
                    "best, ms": f"{best(timed):.1f}",
                    "median, ms": with_quartiles(timed["milliseconds"], ".1f"),
                    "images/s": f"{1000 * measured['batch'] / best(timed):,.0f}",
                    "time / ours, best": f"{best(timed) / best(ours):.2f}",
                    "in pairs": with_quartiles(ratios(timed, ours), ".2f"),
                    "of the limit": share(measured["gigaflops"], timed, measured),
                    "added MiB": f"{timed['mebibytes']:.0f}",
                }
            )
    return plain_table(rows)


def goals_table() -> str:
    """What was aimed at, and what was measured."""
    by_channels = {m["channels"]: m["peers"] for m in read(STEP)["measurements"]}
    rows = []
    for channels, names, goal in GOALS:
        peers = by_channels[channels]
        there = [name for name in names if name in peers]
        if not there:
            continue
        name = min(there, key=lambda name: best(peers[name]))
        reached = best(peers[name]) / best(peers["ours"])
        rows.append(
            {
                "C, peer": f"{channels}, {PEERS[name].title}",
                "goal": f"{goal:.1f}",
                "best": f"{reached:.2f}",
                "in pairs": f"{median(ratios(peers[name], peers['ours'])):.2f}",
                "reached": "yes" if reached >= goal else "no",
            }
        )
    return plain_table(rows)


def ops_table(way: str) -> str:
    """A row for each C and dilation, for the forward or the backward pass."""
    rows = []
    for measured in read(OPS)["measurements"]:
        rules = {rule: ways[way] for rule, ways in measured["rules"].items()}
        ours = rules["manual"]
        others = {
            f"{rule} / manual": f"{best(timed) / best(ours):.2f}"
            for rule, timed in rules.items()
            if rule != "manual"
        }
        rows.append(
            {
                "C, dilation": f"{measured['channels']}, {measured['dilation']}",
                "manual, ms": f"{best(ours):.2f}",
                "of the limit": share(ours["gigaflops"], ours, measured),
                **others,
            }
        )
    return plain_table(rows)


def scaling_table() -> str:
    """A row for each size on each axis."""
    rows = []
    for measured in read(SCALING)["measurements"]:
        peers = measured["peers"]
        ours, *others = peers.values()
        pixels = measured["batch"] * measured["side"] ** 2
        rows.append(
            {
                "axis, size": f"{measured['axis']}, {measured['size']}",
                "ours, ms": f"{best(ours):.2f}",
                "ns a pixel": f"{1e6 * best(ours) / pixels:.0f}",
                "of the limit": share(measured["gigaflops"], ours, measured),
                **{
                    f"{PEERS[name].title} / ours": f"{best(timed) / best(ours):.2f}"
                    for name, timed in peers.items()
                    if name != "ours"
                },
                "ours, MiB": f"{ours['mebibytes']:.0f}",
                "others, MiB": ", ".join(f"{timed['mebibytes']:.0f}" for timed in others),
            }
        )
    return plain_table(rows)


def commands_table() -> str:
    """A row for each command; the first of each comparison is what we do."""
    rows = []
    for measured in read(COMMANDS)["measurements"]:
        own, *_ = measured["seconds"].values()
        for name, seconds in measured["seconds"].items():
            pairs = [time / mine for time, mine in zip(seconds, own, strict=True)]
            rows.append(
                {
                    "what": f"{measured['comparison']}: {name}",
                    "median, s": with_quartiles(seconds, ".1f"),
                    "time / first line's, in pairs": with_quartiles(pairs, ".2f"),
                }
            )
    return plain_table(rows)


def conditions_table() -> str:
    """When, and on what, the records were made."""
    return plain_table([_conditions(name, read(name)) for name in (STEP, OPS, SCALING, COMMANDS)])


def _conditions(name: str, record: Record) -> dict[str, str]:
    machine, versions = record["machine"], record["versions"]
    rows = record["measurements"]
    others = [busy for row in rows for busy in row.get("others_percent", [])]
    limits = [max(row.get("limit_gigaflops_per_second", [0])) for row in rows]
    return {
        "record": f"{name}.json",
        "date": record["date"],
        "minutes": str(record["minutes"]),
        "others, % of the processors": with_quartiles(others, ".0f") if others else "",
        "limit, GFLOP/s": f"{max(limits):.0f}" if any(limits) else "",
        "machine": f"{machine['cores']} cores, {machine['processor']}",
        "versions": ", ".join(f"{package} {number}" for package, number in versions.items()),
    }


def plot_step() -> Figure:
    """Images a second of every peer, a panel for each C; the line spans the middle half."""
    measurements = read(STEP)["measurements"]
    figure = Figure(figsize=(8.8, 3.2), layout="constrained")
    panels = figure.subplots(1, len(measurements), sharey=True, squeeze=False)[0]
    for axes, measured in zip(panels, measurements, strict=True):
        for row, (name, timed) in enumerate(measured["peers"].items()):
            speeds = [1000 * measured["batch"] / time for time in timed["milliseconds"]]
            low, _, high = quantiles(speeds, n=4, method="inclusive")
            axes.barh(row, max(speeds), color=COLOURS[name])
            axes.plot([low, high], [row, row], color="0.6", linewidth=3)
            axes.text(max(speeds), row, f" {max(speeds):,.0f}", va="center", fontsize="small")
        titles = [PEERS[name].title for name in measured["peers"]]
        axes.set_yticks(range(len(titles)), titles)
        axes.set(title=f"C = {measured['channels']}", xlabel="images/s")
        axes.margins(x=0.28)
    panels[0].invert_yaxis()
    return figure


def plot_scaling() -> Figure:
    """Time and memory of a step against each size; grey: in proportion to the work."""
    measurements = read(SCALING)["measurements"]
    figure = Figure(figsize=(8.8, 5.2), layout="constrained")
    times, memory = figure.subplots(2, len(AXES), sharex="col", sharey="row")
    for above, below, (axis, label) in zip(times, memory, AXES.items(), strict=True):
        along = [measured for measured in measurements if measured["axis"] == axis]
        _lines(above, along, best)
        _lines(below, along, lambda timed: timed["mebibytes"])
        sizes = [measured["size"] for measured in along]
        work = [measured["gigaflops"] for measured in along]
        scale = best(along[-1]["peers"]["ours"]) / work[-1]
        above.plot(
            sizes,
            [scale * flops for flops in work],
            color="0.7",
            linewidth=5,
            zorder=0,
            label="ours at the last size, in proportion to the work",
        )
        above.set_title(axis)
        below.set_xscale("log", base=2)
        below.set_xticks(sizes, [str(size) for size in sizes], fontsize="small")
        below.set_xlabel(label)
    times[0].set(ylabel="ms a step", yscale="log")
    memory[0].set(ylabel="MiB added", yscale="log")
    handles, labels = times[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _lines(axes: Axes, along: list[Measurement], value: Callable[[Timed], float]) -> None:
    for style, name in zip(LINES, along[0]["peers"], strict=False):
        axes.plot(
            [measured["size"] for measured in along],
            [value(measured["peers"][name]) for measured in along],
            f"o{style}",
            color=COLOURS[name],
            markersize=4,
            label=PEERS[name].title,
        )
    axes.grid(alpha=0.3)


TABLES: dict[str, Callable[[], str]] = {
    "benchmarks_goals": goals_table,
    "benchmarks_step": step_table,
    "benchmarks_forward": lambda: ops_table("forward"),
    "benchmarks_backward": lambda: ops_table("backward"),
    "benchmarks_scaling": scaling_table,
    "benchmarks_commands": commands_table,
    "benchmarks_conditions": conditions_table,
}
FIGURES = {STEP: plot_step, SCALING: plot_scaling}


def draw() -> None:
    """Draws the figures."""
    for name, plot in FIGURES.items():
        plot().savefig(FOLDER / f"{name}.png", dpi=100)
