"""A run that is cut off goes on as if it had not been, to the last bit."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.summary.writer import event_file_writer

from context_agg.training.learner import Learner
from tests.tiny_run import run, scalars, weights

TIMES = ("seconds", "train/images_per_second")
Kill = Callable[[str, int], None]
EVERY = "checkpoint.every_steps=3"


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def _order_of_event_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts files from 10: TensorBoard reads those of the same second in the order of names."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(10))


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """Calling it ends the next run in its n-th call of a method of the learner."""

    def kill_at(method: str, number: int) -> None:
        original = getattr(Learner, method)
        left = number

        def step(self: Learner, batch: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                monkeypatch.setattr(Learner, method, original)
                raise Killed
            return original(self, batch)

        monkeypatch.setattr(Learner, method, step)

    return kill_at


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


def cut_off(run_dir: Path, *overrides: str) -> None:
    with pytest.raises(Killed):
        run(run_dir, EVERY, *overrides)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("callbacks=weight_averaging",),
        ("+trainer.accumulate_grad_batches=3",),
        ("backprop=broken", "model.init=normal"),
        ("callbacks=gradient_noise",),
        ("schedule=cosine",),
        ("data.shift=2", "data.rotate=20"),
        (
            "optimizer=draft_adam",
            "callbacks=gradient_alignment",
            "callbacks.gradient_alignment.every=3",
        ),
    ],
    ids=lambda options: " ".join(options) or "default",
)
def test_one_cut_in_each_epoch(
    options: Sequence[str], tmp_path: Path, kill: Callable[[str, int], None]
) -> None:
    run(tmp_path / "whole", *options)
    for call_number in (8, 8):  # in the first epoch, then, counted from there, in the second
        kill("training_step", call_number)
        cut_off(tmp_path / "cut", *options)
    run(tmp_path / "cut", EVERY, *options)
    assert_same(results(tmp_path / "cut"), results(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("method", "number"),
    [
        ("training_step", 10),
        ("training_step", 11),
        ("validation_step", 1),
        ("validation_step", 4),
        ("test_step", 1),
        ("test_step", 2),
    ],
)
def test_a_cut_anywhere(
    method: str, number: int, tmp_path: Path, kill: Callable[[str, int], None]
) -> None:
    run(tmp_path / "whole")
    kill(method, number)
    cut_off(tmp_path / "cut")
    run(tmp_path / "cut", EVERY)
    assert_same(results(tmp_path / "cut"), results(tmp_path / "whole"))
