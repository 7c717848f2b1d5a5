"""Averages of the weights."""

import pytest
import torch

from context_agg.training.averaging import warm_ema


def test_the_average_forgets_the_start_and_then_has_its_decay() -> None:
    """Compares with the definition; without the warm start 0.97 of the first would remain."""
    average = warm_ema(0.999)
    value, first_share = torch.tensor(0.0, dtype=torch.float64), 1.0
    for step in range(30):
        past = min(0.999, (1 + step) / (10 + step))
        expected = past * value + (1 - past) * step
        value = average(value, torch.tensor(float(step), dtype=torch.float64), torch.tensor(step))
        assert value.item() == pytest.approx(expected.item())
        first_share *= past
    assert first_share < 1e-6
    late = average(torch.tensor(1.0), torch.tensor(0.0), 10**6)
    assert late.item() == pytest.approx(0.999)


def test_whole_numbers_are_not_averaged() -> None:
    assert warm_ema(0.9)(torch.tensor(3), torch.tensor(7), 100).item() == 7


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"decay=.* must be"):
        warm_ema(decay)
