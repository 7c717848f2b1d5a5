"""Intervals by Student's t, against printed quantiles and by simulation."""

import numpy as np
import pytest

from context_agg.runs.intervals import estimate, paired_difference


@pytest.mark.parametrize(("count", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_the_half_width_is_a_quantile_of_students_t(count: int, quantile: float) -> None:
    values = [float(value) for value in range(count)]
    mean, half, number = estimate(values)
    assert (mean, number) == ((count - 1) / 2, count)
    standard_error = np.std(values, ddof=1) / np.sqrt(count)
    assert half / standard_error == pytest.approx(quantile, abs=6e-4)


def test_95_of_100_intervals_hold_the_true_mean() -> None:
    draws = np.random.default_rng(0).normal(3, 2, (4000, 3))
    held = [abs(mean - 3) < half for mean, half, _ in map(estimate, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.014)  # 4 standard errors


def test_a_single_value_has_no_interval() -> None:
    mean, half, count = estimate([0.5])
    assert (mean, count) == (0.5, 1)
    assert np.isnan(half)


def test_a_difference_is_paired_by_seed_whatever_the_order() -> None:
    ours, baseline = {"a": 1.0, "b": 2.0, "c": 9.0}, {"b": 1.0, "a": 0.0, "d": -9.0}
    assert paired_difference(ours, baseline) == (1, 0, 2)
    assert paired_difference(ours, {"d": 1.0}) is None
