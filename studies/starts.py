"""Starts of a context module on scenes, each at its own learning rate, and joint training."""

import statistics
from collections.abc import Iterable, Iterator, Sequence

from studies.results import curves_by_run
from studies.study import Study, SweepRun

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


STUDY = Study("starts", choose=choose)
