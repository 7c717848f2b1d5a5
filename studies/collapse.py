"""broken from the identity on the digits: which seeds collapse, and what prevents it."""

from collections.abc import Sequence
from statistics import fmean

from matplotlib.figure import Figure

from context_agg.analysis.colours import COLORS, LINES
from context_agg.runs.intervals import estimate
from context_agg.runs.table import cell
from studies.alignment import mean_cosine, recorded_cosines
from studies.plots import mark_missing
from studies.results import curves_by_run
from studies.study import Study, SweepRun
from studies.tables import compared, named_runs, plain_table

FALL = 0.2  # of the held-out accuracy, from its best epoch to the last: a collapse
EPOCH = 40  # steps
BROKEN = "rules/backprop-broken/"


def words(run: SweepRun) -> str:
    """A run in words."""
    if run.part == "rules":
        return {"manual": "right gradients", "broken": "broken"}[run.value("backprop")]
    (key,) = (key for key in run.lines if key != "seed")
    what = {"clipped": "clipped to norm", "slower": "lr", "decayed": "weight decay"}[run.part]
    return f"broken, {what} {run.value(key)}"


def collapsed() -> dict[str, bool]:
    """Of every recorded run, whether it has collapsed by its last epoch."""
    return {
        name: max(curves["val/accuracy"]) - curves["val/accuracy"][-1] > FALL
        for name, curves in curves_by_run("collapse").items()
    }


def collapse_table() -> str:
    """How many seeds collapse, and what that costs."""
    fallen: dict[str, list[bool]] = {}
    ends = collapsed()
    for run in STUDY.runs():
        if run.name in ends:
            fallen.setdefault(words(run), []).append(ends[run.name])
    table = []
    runs = named_runs(STUDY, words)
    order = sorted(runs, key=lambda name: name.startswith("broken,"))
    for row in compared({name: runs[name] for name in order}, "broken"):
        name = str(row["variant"])
        table.append(
            {
                "variant": name,
                "collapsed": f"{sum(fallen[name])} of {len(fallen[name])}"
                if name in fallen
                else "missing",
                "final/accuracy": cell(row, "final/accuracy"),
                "difference from broken": cell(row, "final/accuracy difference"),
                "test/accuracy": cell(row, "test/accuracy"),
            }
        )
    return plain_table(table)


def cosines_table() -> str:
    """Mean cosine of layers 1 to 6 in both halves of the training, of each kind of run."""
    cosines, ends = recorded_cosines("collapse"), collapsed()
    falling, others = "broken, the seeds that collapse", "broken, the others"
    halves: dict[str, list[list[float]]] = {falling: [], others: []}  # by kind, those of each run
    for run in STUDY.runs():
        if run.name not in ends or words(run) == "right gradients":
            continue
        kind = words(run)
        if kind == "broken":
            kind = falling if ends[run.name] else others
        by_epoch = [mean_cosine(at) for _, at in sorted(cosines[run.name].items())]
        middle = len(by_epoch) // 2
        means = [
            fmean(mean for mean in half if mean is not None)
            for half in (by_epoch[:middle], by_epoch[middle:])
        ]
        halves.setdefault(kind, []).append(means)
    table = []
    for kind, of_runs in halves.items():
        cells = [_with_interval(values) for values in zip(*of_runs, strict=True)]
        first, second = cells or ["missing", "missing"]
        numbers = {"epochs 1 to 15": first, "epochs 16 to 30": second}
        table.append({"variant": kind, "runs": str(len(of_runs)), **numbers})
    return plain_table(table)


def _with_interval(values: Sequence[float]) -> str:
    value = estimate(values)
    return f"{value.mean:.2f} ± {value.half:.2f}"


def plot_collapse() -> Figure:
    """Held-out accuracy and mean cosine by epoch, of the seeds that collapse and of the others."""
    cosines, curves, ends = recorded_cosines("collapse"), curves_by_run("collapse"), collapsed()
    runs = [name for name in ends if name.startswith(BROKEN)]
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    for (above, below), falls, title in zip(
        panels.T, (True, False), ("seeds that collapse", "the others"), strict=True
    ):
        of_kind = [name for name in runs if ends[name] == falls]
        for number, name in enumerate(of_kind):
            style = {
                "color": COLORS[number % len(COLORS)],
                "linestyle": LINES[number // len(COLORS)],
            }
            accuracies = curves[name]["val/accuracy"]
            label = name.rpartition("/")[2].replace("-", " ")
            above.plot(range(1, len(accuracies) + 1), accuracies, label=label, **style)
            means = {step / EPOCH: mean_cosine(at) for step, at in cosines[name].items()}
            below.plot(list(means), list(means.values()), **style)
        if of_kind:
            above.legend(fontsize="small", ncols=2)
        else:
            for axes in (above, below):
                mark_missing(axes)
        above.set(title=title, ylim=(0, 1.02))
        below.axhline(0, color="0.5", linewidth=0.8)
        below.set(xlabel="epoch", ylim=(-0.3, 1.05))
        for axes in (above, below):
            axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("held-out accuracy")
    panels[1, 0].set_ylabel("mean cosine of layers 1 to 6")
    return figure


STUDY = Study(
    "collapse",
    figures={"collapse": plot_collapse},
    tables={"collapse": collapse_table, "collapse_cosines": cosines_table},
)
