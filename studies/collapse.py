"""broken from the identity on the digits: which seeds collapse, and what prevents it."""

from collections.abc import Sequence
from itertools import accumulate
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

FALL = 0.2  # of the held-out accuracy, from its best so far
EPOCH = 40  # steps
BROKEN = "rules/backprop-broken/"


def words(run: SweepRun) -> str:
    """A run in words."""
    if run.part == "rules":
        return {"manual": "right gradients", "broken": "broken"}[run.value("backprop")]
    if run.part == "slower_longer":
        return "broken, lr 0.0003, 100 epochs"
    (key,) = (key for key in run.lines if key != "seed")
    what = {"clipped": "clipped to norm", "slower": "lr", "decayed": "weight decay"}[run.part]
    return f"broken, {what} {run.value(key)}"


def collapsed() -> dict[str, bool]:
    """Of every recorded run, whether it has collapsed by its last epoch."""
    return {name: falls[-1] for name, falls in fallen().items()}


def fallen() -> dict[str, list[bool]]:
    """Of every recorded run and each of its epochs, whether it is far below its best until then."""
    return {
        name: [
            best - value > FALL for best, value in zip(accumulate(values, max), values, strict=True)
        ]
        for name, curves in curves_by_run("collapse").items()
        for values in [curves["val/accuracy"]]
    }


def collapse_table() -> str:
    """How many seeds fall at some epoch, how many end there, and what that costs."""
    by_name = fallen()
    falls: dict[str, list[list[bool]]] = {}
    for run in STUDY.runs():
        if run.name in by_name:
            falls.setdefault(words(run), []).append(by_name[run.name])
    table = []
    runs = named_runs(STUDY, words)
    order = sorted(runs, key=lambda name: name.startswith("broken,"))
    for row in compared({name: runs[name] for name in order}, "broken"):
        name = str(row["variant"])
        of_runs = falls.get(name)
        table.append(
            {
                "variant": name,
                "fall": f"{sum(map(any, of_runs))} of {len(of_runs)}" if of_runs else "missing",
                "collapsed at the end": (
                    f"{sum(run[-1] for run in of_runs)} of {len(of_runs)}" if of_runs else "missing"
                ),
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
    kinds: dict[str, list[list[float | None]]] = {falling: [], others: []}  # the means of each run
    for run in STUDY.runs():
        kind = words(run)
        if kind == "right gradients":
            continue
        if kind == "broken":
            kind = falling if ends.get(run.name) else others
        means = kinds.setdefault(kind, [])
        if run.name in ends:
            means.append([mean_cosine(at) for _, at in sorted(cosines[run.name].items())])
    return plain_table(
        [
            {
                "variant": kind,
                "runs": str(len(runs)),
                "first half": _mean([by_epoch[: len(by_epoch) // 2] for by_epoch in runs]),
                "second half": _mean([by_epoch[len(by_epoch) // 2 :] for by_epoch in runs]),
            }
            for kind, runs in kinds.items()
        ]
    )


def _mean(runs: Sequence[Sequence[float | None]]) -> str:
    """The mean of the runs' means, with its interval; a dead network has no cosines."""
    means = [fmean(there) for run in runs if (there := [x for x in run if x is not None])]
    if not means:
        return "missing"
    value = estimate(means)
    return f"{value.mean:.2f}" + (f" ± {value.half:.2f}" if value.number > 1 else " (example)")


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
