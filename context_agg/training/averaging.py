"""Averages of the weights over the training steps."""

from collections.abc import Callable

from torch import Tensor


def warm_ema(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """Returns an exponential average that keeps (1 + t) / (10 + t) of the past at step t.

    It thus soon forgets the initial weights; later it keeps `decay` of the past at every step.
    Whole numbers, such as a count of batches, have no average: they are the current ones.

    Raises:
        ValueError: if decay is below 0, or not below 1.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay={decay} must be at least 0 and below 1")

    def average(averaged: Tensor, current: Tensor, number: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        past = min(decay, (1 + int(number)) / (10 + int(number)))
        return averaged.lerp(current, 1 - past)

    return average
