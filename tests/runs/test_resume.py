"""A run that is cut off goes on as if it had not been, to the last bit."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cut_off import EVERY, cut_off
from tests.tiny_run import run, scalars, weights

TIMES = ("seconds", "train/images_per_second")


def results(run_dir: Path) -> dict[str, Any]:
    """All that a run gives, except for times."""
    scores = json.loads((run_dir / "metrics.json").read_text())
    curves = scalars(run_dir)
    for time in TIMES:
        assert scores.pop(time) > 0
    curves.pop(TIMES[1])
    best = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return {"scores": scores, "curves": curves, "last": weights(run_dir), "best": best}


def assert_same(ours: object, theirs: object) -> None:
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert ours.keys() == theirs.keys()
        for key in theirs:
            assert_same((key, ours[key]), (key, theirs[key]))
    elif isinstance(theirs, tuple) and isinstance(theirs[1], dict | torch.Tensor):
        assert isinstance(ours, tuple)
        assert_same(ours[1], theirs[1])
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs)
    else:
        assert repr(ours) == repr(theirs)  # of the shortest decimals that give the same bits


OPTIONS: list[tuple[str, ...]] = [
    ("callbacks=weight_averaging",),
    ("+trainer.accumulate_grad_batches=3",),
    ("backprop=broken", "model.init=normal"),
    ("callbacks=gradient_noise",),
    ("callbacks=random_gradients", "backprop=feedback_alignment"),
    ("trainer.precision=64-true",),
    ("schedule=cosine",),
    (
        "schedule=cosine",
        "schedule._target_=torch.optim.lr_scheduler.MultiStepLR",
        "+schedule.milestones=[5,12]",
    ),
    ("data.shift=2", "data.rotate=20"),
    (
        "optimizer=draft_adam",
        "callbacks=gradient_alignment",
        "callbacks.gradient_alignment.every=3",
    ),
]


@pytest.mark.parametrize(
    "options",
    [(), *(pytest.param(options, marks=pytest.mark.slow) for options in OPTIONS)],
    ids=lambda options: " ".join(options) or "default",
)
def test_one_cut_in_each_epoch(options: Sequence[str], tmp_path: Path) -> None:
    run(tmp_path / "whole", *options)
    for call_number in (8, 8):  # in the first epoch, then, counted from there, in the second
        cut_off(call_number, tmp_path / "cut", *options)
    run(tmp_path / "cut", EVERY, *options)
    assert_same(results(tmp_path / "cut"), results(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("method", "number"),
    [
        ("training_step", 10),
        pytest.param("training_step", 11, marks=pytest.mark.slow),
        pytest.param("validation_step", 1, marks=pytest.mark.slow),
        ("validation_step", 4),
        pytest.param("test_step", 1, marks=pytest.mark.slow),
        pytest.param("test_step", 2, marks=pytest.mark.slow),
    ],
)
def test_a_cut_anywhere(method: str, number: int, tmp_path: Path) -> None:
    run(tmp_path / "whole")
    cut_off(number, tmp_path / "cut", method=method)
    run(tmp_path / "cut", EVERY)
    assert_same(results(tmp_path / "cut"), results(tmp_path / "whole"))
