"""Starts of a context module on scenes, each at its own learning rate, and joint training."""

import statistics
from collections.abc import Iterable, Iterator, Sequence

from matplotlib.figure import Figure

from context_agg.analysis.colours import COLORS
from context_agg.runs.table import Row, as_markdown
from studies.plots import draw_differences, draw_dots, mark_missing
from studies.results import curves_by_run
from studies.study import Study, SweepRun
from studies.tables import compared, named_runs, plain_table

RATE = "optimizer.lr"
CHOSEN_BY = {"compared": "rates", "longer": "rates", "plain": "plain_rates"}
"""By part, the part whose seeds choose its learning rates."""
LIFTED = "front_end.lift=2"  # of the starts of part `longer`, which does not vary it

Start = tuple[str, ...]
"""What a run starts from: the part that its rate is chosen by, and the overrides but the rate."""


def start_of(run: SweepRun) -> Start:
    """The start of a run."""
    varied = {line for key, line in run.lines.items() if key not in ("seed", RATE)}
    if run.part == "longer":
        varied.add(LIFTED)
    return CHOSEN_BY.get(run.part, run.part), *sorted(varied)


def mean_iou(runs: Sequence[SweepRun]) -> float | None:
    """Held-out mean IoU at the best epoch, averaged over the runs; None if one has no row."""
    recorded = curves_by_run("starts")
    if any(run.name not in recorded for run in runs):
        return None
    return statistics.fmean(max(recorded[run.name]["val/iou"]) for run in runs)


def rate_scores(runs: Iterable[SweepRun]) -> dict[Start, dict[str, float | None]]:
    """By start and learning rate, what the rate is chosen by."""
    tried: dict[Start, dict[str, list[SweepRun]]] = {}
    for run in runs:
        if run.part in CHOSEN_BY.values():
            tried.setdefault(start_of(run), {}).setdefault(run.value(RATE), []).append(run)
    return {
        start: {rate: mean_iou(of_rate) for rate, of_rate in rates.items()}
        for start, rates in tried.items()
    }


def chosen_rates(runs: Iterable[SweepRun]) -> dict[Start, str]:
    """The best learning rate of every start of which all rates have been tried."""
    chosen = {}
    for start, scores in rate_scores(runs).items():
        known = {rate: score for rate, score in scores.items() if score is not None}
        if len(known) == len(scores):
            chosen[start] = max(known, key=lambda rate: known[rate])
    return chosen


def choose(runs: Iterable[SweepRun]) -> Iterator[SweepRun]:
    """All runs, except that of a start with a chosen learning rate only those with this rate."""
    runs = list(runs)
    rates = chosen_rates(runs)
    for run in runs:
        if run.part not in CHOSEN_BY or rates.get(start_of(run)) == run.value(RATE):
            yield run


COMPARED = ("compared", "plain")
SCORE = "test/iou"


def words(run: SweepRun) -> str:
    """A start in words: its module, initial weights and lift."""
    _, *lines = start_of(run)
    given = dict(line.split("=") for line in lines)
    plain = ["plain"] if run.part.startswith("plain") else []
    lifted = ["lifted"] if given["front_end.lift"] != "0" else []
    return ", ".join([*plain, given.get("model.init", "identity"), *lifted])


def rows() -> list[Row]:
    """The ten fresh seeds of every start, at its own learning rate, against Xavier's weights."""
    runs = named_runs(STUDY, lambda run: words(run) if run.part in COMPARED else None)
    return compared(runs, "xavier")


def start_table() -> str:
    """Mean IoU of every start on fresh seeds."""
    return as_markdown(rows(), (SCORE,))


def rate_table() -> str:
    """Held-out mean IoU of the seeds that choose the learning rates; the chosen one is bold."""
    runs = list(STUDY.runs())
    chosen = chosen_rates(runs)
    in_words = {start_of(run): words(run) for run in runs if run.part in CHOSEN_BY.values()}
    table = []
    by_start = sorted(rate_scores(runs).items(), key=lambda item: item[0][0], reverse=True)
    for start, scores in by_start:  # plain last
        cells = {rate: "missing" if x is None else f"{x:.3f}" for rate, x in scores.items()}
        if rate := chosen.get(start):
            cells[rate] = f"**{cells[rate]}**"
        table.append({"start": in_words[start], **cells})
    return plain_table(table)


def lift_words(run: SweepRun) -> str | None:
    """How far a run from the identity, with a learning rate of 1e-3, lifts its class maps."""
    tuned = run.part == "rates" and run.value(RATE) == "0.001" and "identity" in run.name
    return f"lifted by {run.value('front_end.lift')}" if tuned or run.part == "lifts" else None


def lift_table() -> str:
    """The identity with class maps lifted by several numbers, on the seeds that 2 was chosen on."""
    runs = named_runs(STUDY, lift_words)
    order = sorted(runs, key=lambda name: int(name.rpartition(" ")[2]))
    return as_markdown(compared({name: runs[name] for name in order}, "lifted by 0"), (SCORE,))


def longer_table() -> str:
    """Two starts with four times as many epochs."""
    runs = named_runs(STUDY, lambda run: words(run) if run.part == "longer" else None)
    return as_markdown(compared(runs, "xavier, lifted"), (SCORE,))


FIRST = "six epochs of the module"


def joint_words(run: SweepRun) -> str | None:
    """What follows six epochs of the context module, in words."""
    if run.part == "before":
        return FIRST
    what = {"alone": "six more of the module", "joint": "six more of both"}.get(run.part)
    return what and f"{what}, lr {run.value(RATE)}"


def joint_table() -> str:
    """Joint training beside as many more epochs of the module alone, at the same rate."""
    runs = named_runs(STUDY, joint_words)
    alone = {name: name.replace("of both", "of the module") for name in runs if "both" in name}
    order = sorted(runs, key=lambda name: (name.rpartition("lr ")[2], name in alone))
    order = [FIRST, *(name for name in order if name != FIRST)]
    return as_markdown(compared({name: runs[name] for name in order}, alone), (SCORE,))


def plot_starts() -> Figure:
    """Mean IoU of every fresh seed of every start, and the paired differences from Xavier's."""
    runs = named_runs(STUDY, lambda run: words(run) if run.part in COMPARED else None)
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.4, 1))
    ious = {name: [run[SCORE] for run in of_name.values()] for name, of_name in runs.items()}
    colors = {name: COLORS[0] for name in ious if name.startswith("identity")}
    colors |= {name: COLORS[1] for name in ious if name.startswith("plain")}
    draw_dots(left, ious, colors)
    left.set(xlabel="mean IoU, test scenes", xlim=(0, 1))
    if any(ious.values()):
        draw_differences(right, rows(), SCORE)
    else:
        mark_missing(right)
    right.set(xlabel="difference from xavier, same seeds")
    return figure


STUDY = Study(
    "starts",
    choose=choose,
    figures={"starts": plot_starts},
    tables={
        "starts_compared": start_table,
        "starts_rates": rate_table,
        "starts_lifts": lift_table,
        "starts_longer": longer_table,
        "starts_joint": joint_table,
    },
)
