"""Processes that are killed, and what becomes of their runs."""

from pathlib import Path

import pytest

from studies.kills import KILLED, Moment, outcome, random_moments, train_in_process


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "moments"),
    [
        ((), [Moment("training_step", 5)]),  # before the first checkpoint but one
        ((), [Moment("validation_step", 2), Moment("test_step", 2)]),
        ((), [Moment("replace", count) for count in (4, 5, 6, 7, 8)]),
        (("callbacks=weight_averaging",), random_moments(1, 2)),
        (("+trainer.accumulate_grad_batches=3",), random_moments(2, 2)),
        (("backprop=broken", "model.init=normal"), random_moments(3, 5)),
    ],
)
def test_a_killed_run_ends_as_the_uninterrupted_one(
    options: tuple[str, ...], moments: list[Moment], tmp_path: Path
) -> None:
    assert train_in_process(tmp_path / "whole", options) == 0
    killed = [train_in_process(tmp_path / "killed", options, moment=moment) for moment in moments]
    assert KILLED in killed
    assert set(killed) <= {KILLED, 0}  # a moment can lie after the end
    assert train_in_process(tmp_path / "killed", options) == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
