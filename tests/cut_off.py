"""A run that is cut off in the middle."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from context_agg.training.learner import Learner
from tests.tiny_run import run

EVERY = "checkpoint.every_steps=3"


class Killed(BaseException):
    pass


def cut_off(
    number: int,
    run_dir: Path,
    *overrides: str,
    method: str = "training_step",
    run: Callable[..., object] = run,
) -> None:
    """Trains a run that ends in its n-th call of a method of the learner."""
    original = getattr(Learner, method)
    left = number

    def step(self: Learner, batch: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, method, step)
        with pytest.raises(Killed):
            run(run_dir, EVERY, *overrides)
