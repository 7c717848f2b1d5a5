"""How far the mean over some seeds can be trusted."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from scipy.special import stdtrit  # scipy.stats takes a second to import

CONFIDENCE = 0.95


class Estimate(NamedTuple):
    """A mean with its 95 % interval by Student's t, mean ± half.

    Attributes:
        mean: mean of the values.
        half: half the width of the interval; NaN for a single value.
        number: how many values.
    """

    mean: float
    half: float
    number: int


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of values that are drawn independently, such as the scores of several seeds."""
    number = len(values)
    if number < 2:
        return Estimate(values[0], float("nan"), number)
    quantile = float(stdtrit(number - 1, (1 + CONFIDENCE) / 2))
    half = quantile * statistics.stdev(values) / number**0.5
    return Estimate(statistics.fmean(values), half, number)


def paired_difference(
    values: Mapping[str, float], baseline: Mapping[str, float]
) -> Estimate | None:
    """The mean difference from a baseline over the seeds that both have; None if there are none.

    Args:
        values: by seed.
        baseline: by seed.
    """
    seeds = [seed for seed in values if seed in baseline]
    return estimate([values[seed] - baseline[seed] for seed in seeds]) if seeds else None
