"""The choices debug=step, debug=overfit and debug=profile."""

import json
from pathlib import Path

import pytest

from context_agg.callbacks.overfit import NotOverfit
from context_agg.cli.compose import compose_config
from context_agg.train import train
from tests.tiny_run import scalars


def test_step_takes_one_step_of_everything(tmp_path: Path) -> None:
    scores = train(compose_config("debug=step", "model.channels=2"), tmp_path)
    assert scores["epochs"] == 1
    assert scores["test/accuracy"] in [images / 32 for images in range(33)]  # images of one batch
    assert {"curves.png", "metrics.json", "checkpoints"} <= {f.name for f in tmp_path.iterdir()}


@pytest.mark.parametrize("backprop", ["auto", "manual"])
def test_overfit_brings_the_loss_of_one_batch_to_a_hundredth(backprop: str, tmp_path: Path) -> None:
    cfg = compose_config("debug=overfit", f"backprop={backprop}", "model.channels=4")
    scores = train(cfg, tmp_path)
    losses = scalars(tmp_path)["train/loss"]
    assert losses[-1] <= 0.01 < min(losses[:-1])
    assert scores["epochs"] == len(losses) < 200  # one batch per epoch


def test_overfit_that_does_not_get_there_is_an_error(tmp_path: Path) -> None:
    cfg = compose_config("debug=overfit", "optimizer.lr=1e-9", "trainer.max_epochs=3")
    with pytest.raises(NotOverfit, match=r"one batch, 3 steps: the loss is 2\.\d+, not 0.01"):
        train(cfg, tmp_path)
    assert not (tmp_path / "metrics.json").exists()


def test_profile_writes_a_trace_of_training_steps_and_a_table(tmp_path: Path) -> None:
    train(compose_config("debug=profile", "model.channels=2"), tmp_path)
    (file,) = tmp_path.glob("*.pt.trace.json")
    names = [event.get("name", "") for event in json.loads(file.read_text())["traceEvents"]]
    steps = {name for name in names if name.startswith("ProfilerStep#")}
    assert steps == {f"ProfilerStep#{step}" for step in range(5, 10)}
    assert "DilatedConvFunctionBackward" in (tmp_path / "profile.txt").read_text()
