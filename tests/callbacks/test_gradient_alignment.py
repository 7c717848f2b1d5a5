"""The callback records how well gradients agree, and leaves training as it is."""

import csv
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from context_agg.callbacks.overfit import NotOverfit
from context_agg.cli.compose import compose_config
from context_agg.networks.context import DilatedConv2d
from context_agg.runs.build import build
from context_agg.train import train
from tests.tiny_run import scalars

SHORT = (
    "callbacks=gradient_alignment",
    "callbacks.gradient_alignment.every=2",
    "model.channels=2",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=4",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
)


def measured(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "gradients.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_callback_records_every_layer(tmp_path: Path) -> None:
    train(compose_config(*SHORT, "backprop=manual"), tmp_path)
    rows = measured(tmp_path)
    layers = ["front_end", *(f"context.layers.{i}" for i in range(8)), "head.1"]
    assert [(int(row["step"]), row["layer"]) for row in rows] == [
        (step, layer) for step in (0, 2, 4, 6) for layer in layers
    ]
    for row in rows:
        assert float(row["cosine"]) == pytest.approx(1, abs=1e-4)
        assert float(row["norm_ratio"]) == pytest.approx(1, abs=1e-4)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for tag in ("cosine/front_end", "norm_ratio/head.1", "sign_agreement/context.layers.3"):
        assert [event.step for event in events.Scalars(tag)] == [0, 2, 4, 6]
    assert (tmp_path / "gradients.png").stat().st_size > 10_000


def test_the_recorded_cosines_of_broken_are_those_of_the_first_batch(tmp_path: Path) -> None:
    """Recomputed with .backward() under both rules, with the weights and the batch of step 0."""
    cfg = compose_config(*SHORT, "backprop=broken", "model.init=kaiming", "data.shift=0")
    train(cfg, tmp_path)
    L.seed_everything(0, workers=True, verbose=False)
    data, learner = build(cfg)
    index, _ = next(iter(data.train_dataloader().sampler))
    x, target = data.train.batch(index)
    vectors = []
    for rule in ("broken", "auto"):
        for module in learner.network.modules():
            if isinstance(module, DilatedConv2d):
                module.backprop = rule
        learner.zero_grad()
        F.cross_entropy(learner(x), target).backward()
        layer = learner.network.get_submodule("context.layers.4")
        vectors.append(torch.cat([p.grad.flatten() for p in layer.parameters()]))  # type: ignore[union-attr]
    ours, true = (vector.double().numpy() for vector in vectors)
    (row,) = (
        row
        for row in measured(tmp_path)
        if (row["step"], row["layer"]) == ("0", "context.layers.4")
    )
    norms = np.linalg.norm(ours), np.linalg.norm(true)
    assert float(row["cosine"]) == pytest.approx(ours @ true / norms[0] / norms[1], rel=1e-4)
    assert float(row["norm_ratio"]) == pytest.approx(norms[0] / norms[1], rel=1e-4)
    assert abs(float(row["cosine"])) < 0.9


@pytest.mark.parametrize("model", ["basic", "lecture"])  # the lecture's network has dropout
def test_training_is_the_same_with_the_callback(model: str, tmp_path: Path) -> None:
    """The weights are the same, bit for bit."""
    settings = SHORT if model == "basic" else [part for part in SHORT if "channels" not in part]
    settings = [
        *settings,
        f"model={model}",
        "backprop=auto" if model == "lecture" else "backprop=broken",
    ]
    without = [part for part in settings if "gradient_alignment" not in part]
    scores = train(compose_config(*settings), tmp_path / "with")
    plain = train(compose_config(*without), tmp_path / "without")
    timed = ("seconds", "train/images_per_second")
    assert {k: v for k, v in scores.items() if k not in timed} == {
        k: v for k, v in plain.items() if k not in timed
    }


def test_the_loss_decrease_is_that_of_the_step(tmp_path: Path) -> None:
    """With the same batch at every step, it is the difference of the losses that are logged."""
    cfg = compose_config(
        "callbacks=gradient_alignment",
        "callbacks.gradient_alignment.every=1",
        "debug=overfit",
        "model.channels=2",
        "trainer.max_epochs=4",
    )
    with pytest.raises(NotOverfit, match="4 steps"):  # too few to overfit, enough for us
        train(cfg, tmp_path)
    losses = np.array(scalars(tmp_path)["train/loss"])
    recorded = [
        float(row["loss_decrease"]) for row in measured(tmp_path) if row["layer"] == "front_end"
    ]
    assert recorded[:3] == pytest.approx(losses[:-1] - losses[1:], abs=1e-6)
    assert len(recorded) == 4


@pytest.mark.parametrize(
    "accumulate", [3, *(pytest.param(x, marks=pytest.mark.slow) for x in (2, 10))]
)
def test_accumulated_batches_are_measured_as_one(accumulate: int, tmp_path: Path) -> None:
    """The same as one step on all of them; epochs of four batches cut some windows short."""
    per_epoch = -(-4 // accumulate)
    few = ("callbacks.gradient_alignment.every=1", "data.shift=0", "backprop=broken")
    cfg = compose_config(*SHORT, *few, f"+trainer.accumulate_grad_batches={accumulate}")
    train(cfg, tmp_path / "parts")
    rows = measured(tmp_path / "parts")
    assert {int(row["step"]) for row in rows} == set(range(2 * per_epoch))
    assert len(rows) == 2 * per_epoch * 10
    assert (tmp_path / "parts" / "gradients.png").is_file()
    whole = compose_config(*SHORT, *few)
    whole.data.batch_size = 32 * min(accumulate, 4)
    train(whole, tmp_path / "whole")
    for row, expected in zip(rows[:10], measured(tmp_path / "whole")[:10], strict=True):
        assert row["layer"] == expected["layer"]
        for quantity in ("cosine", "norm_ratio", "loss_decrease"):
            value = float(expected[quantity])
            assert float(row[quantity]) == pytest.approx(value, rel=1e-3, abs=1e-5)
