"""Averages of weights over the steps of a training."""

from collections.abc import Callable

from torch import Tensor


def warm_ema(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """An exponential average that forgets fast at first: at step t, (1 + t) / (10 + t) of the past.

    So the initial weights do not weigh on a short run; later it is `decay` of the past, per step.

    Raises:
        ValueError: if decay is not from 0 to below 1.
    """
    if not 0 <= decay < 1:
        raise ValueError(f"decay={decay} must be from 0 to below 1")

    def average(averaged: Tensor, current: Tensor, number: Tensor | int) -> Tensor:
        past = min(decay, (1 + int(number)) / (10 + int(number)))
        return averaged.lerp(current, 1 - past)

    return average
