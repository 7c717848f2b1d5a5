"""The lecture's network."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from context_agg.cli.compose import compose_config
from context_agg.networks.lecture import LectureNet
from context_agg.train import train
from tests.fake_mnist import write_mnist

IMAGE: Any = {"in_channels": 1, "image_size": (28, 28), "num_classes": 10}


def test_its_parameters_are_the_lectures() -> None:
    """The layers have 832 + 51,264 + 3,212,288 + 10,250."""
    net = LectureNet("default", 0.25, **IMAGE)
    counts = [sum(p.numel() for p in layer.parameters()) for layer in net.layers]
    assert [count for count in counts if count] == [832, 51_264, 3_212_288, 10_250]
    assert net(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_the_lectures_initialisation() -> None:
    torch.manual_seed(0)
    net = LectureNet("lecture", 0.25, **IMAGE)
    for layer in net.layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = layer.weight.detach()
            assert float(weight.abs().max()) <= 2
            assert float(weight.std()) == pytest.approx(0.88, abs=0.05)  # N(0, 1) truncated at 2
            assert layer.bias is not None
            assert bool(layer.bias.any()) == isinstance(layer, nn.Conv2d)


def test_dropout_is_for_training_only() -> None:
    net = LectureNet("default", 0.5, **IMAGE)
    x = torch.rand(4, 1, 28, 28)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "good"}, "unknown init='good'"),
        ({"dense": True}, "whole images"),
        ({"image_size": (3, 28)}, "too small to pool"),
    ],
)
def test_what_it_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LectureNet(**{"init": "default", "dropout": 0.25, **IMAGE, **change})


@pytest.mark.parametrize("init", ["default", "lecture"])
def test_the_experiment_runs_shortened(init: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    cfg = compose_config(
        "experiment=lecture_mnist",
        f"model.init={init}",
        f"data.root={tmp_path}",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=2",
        "trainer.limit_val_batches=1",
        "trainer.limit_test_batches=1",
    )
    assert (cfg.data.batch_size, cfg.data.held_out, cfg.optimizer.lr) == (128, "test", 1e-3)
    assert train(cfg, tmp_path / "run")["epochs"] == 1
