"""The network, the loss and the optimizer of the 2018 post's drafts."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from context_agg.cli.compose import compose_config
from context_agg.networks.post import Arctan, PostNet
from context_agg.runs.build import build
from context_agg.train import train
from context_agg.training.losses import BinaryCrossEntropyOnSoftmax
from context_agg.training.optimizers import DraftAdam
from tests.fake_mnist import write_mnist

IMAGE: Any = {"in_channels": 1, "image_size": (28, 28), "num_classes": 10}
POST = (1, 1, 2, 4, 8, 16, 1, 1)


def post_net(activation: str = "sigmoid", **options: Any) -> PostNet:
    torch.manual_seed(0)
    return PostNet(POST, 1.0, [1024], activation, **IMAGE, **options)


def test_the_heads_bound_the_confidence() -> None:
    """The largest probability, 0.232 with sigmoid logits and 0.720 with arctan logits."""
    for activation, (low, high), bound in (
        ("sigmoid", (0.0, 1.0), 0.2320),
        ("arctan", (-math.pi / 2, math.pi / 2), 0.7200),
    ):
        net = post_net(activation)
        logits = net(1000 * torch.randn(64, 1, 28, 28)).detach()
        assert low <= float(logits.min()) <= float(logits.max()) <= high
        best = math.exp(high) / (math.exp(high) + 9 * math.exp(low))
        assert float(logits.softmax(1).max()) <= best + 1e-6
        assert best == pytest.approx(bound, abs=2e-4)


def test_the_stack_has_one_map_eight_3x3_kernels_and_no_bias() -> None:
    net = post_net()
    assert [tuple(p.shape) for p in net.context.parameters()] == [(1, 1, 3, 3)] * 8
    assert [conv.dilation[0] for conv in net.context.convolutions] == list(POST)
    assert all(conv.relu for conv in net.context.convolutions)
    weights = torch.cat([p.detach().flatten() for p in net.context.parameters()])
    assert 0.8 < float(weights.std()) < 1.2  # 72 draws from N(0, 1)


def test_few_networks_are_dead_from_the_start() -> None:
    """An earlier measurement found 1.5 % of 200; the output of a dead one is all zero."""
    images = torch.rand(4, 1, 28, 28)
    dead = 0
    for seed in range(200):
        torch.manual_seed(seed)
        net = PostNet(POST, 1.0, [], "sigmoid", **IMAGE)
        dead += not bool(net.context(images).any())
    assert dead <= 10


@pytest.mark.parametrize("wrong", [{"in_channels": 3}, {"dense": True}], ids=["colour", "dense"])
def test_data_it_is_not_made_for_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="grey images"):
        PostNet(POST, 1.0, [], "sigmoid", **{**IMAGE, **wrong})


@pytest.mark.parametrize("wrong", [{"dilations": ()}, {"init_std": -1.0}, {"init_std": None}])
def test_a_stack_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    options: dict[str, Any] = {"dilations": POST, "init_std": 1.0} | wrong | IMAGE
    with pytest.raises(ValueError, match=f"{name}=.* must"):
        PostNet(hidden=[], activation="sigmoid", **options)


POST_DRAFT = (1, 1, 2, 2, 4, 8, 16, 1)
SHORTCUT = (1500, 0.08, 2)
# dilations, head, loss, optimizer and learning rate, shortcut, images a step, epochs
PINNED = {
    "post_auto": (
        POST,
        [1024, 10],
        nn.Sigmoid,
        BinaryCrossEntropyOnSoftmax,
        (torch.optim.Adam, 1e-4),
        (0, 0, 2),
        1000,
        150,
    ),
    "post_broken": (
        POST,
        [512, 128, 10],
        Arctan,
        nn.CrossEntropyLoss,
        (torch.optim.Adam, 2.5e-3),
        (0, 0, 2),
        100,
        150,
    ),
    "draft_manual": (
        POST_DRAFT,
        [512, 128, 10],
        Arctan,
        nn.CrossEntropyLoss,
        (DraftAdam, 2.5e-3),
        SHORTCUT,
        100,
        100,
    ),
}


@pytest.mark.parametrize("name", PINNED)
def test_the_experiments_are_the_drafts(name: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    cfg = compose_config(f"experiment={name}", f"data.root={tmp_path}")
    data, learner = build(cfg)
    dilations, head, activation, loss, optimizer, shortcut, images, epochs = PINNED[name]
    net = learner.network
    assert isinstance(net, PostNet)
    assert tuple(conv.dilation[0] for conv in net.context.convolutions) == dilations
    linear = [layer for layer in net.head if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == head
    assert sum(isinstance(layer, activation) for layer in net.head) == len(head)
    assert type(learner.loss) is loss
    lr = learner.optimizer.param_groups[0]["lr"]
    assert (type(learner.optimizer), lr) == optimizer
    ours = net.context.shortcut
    assert (ours.scale, ours.decay, ours.window) == shortcut
    parts = cfg.trainer.get("accumulate_grad_batches", 1)
    assert (data.batch_size * parts, cfg.trainer.max_epochs) == (images, epochs)
    assert data.held_out_name == "test"


EXPERIMENTS = {
    "post_auto": (1e-4, "auto", [1024]),
    "post_broken": (2.5e-3, "broken", [512, 128]),
    "draft_manual": (2.5e-3, "draft", [512, 128]),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_experiments_run_shortened(name: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    cfg = compose_config(
        f"experiment={name}",
        f"data.root={tmp_path}",
        "trainer.max_epochs=2",
        "trainer.limit_train_batches=20",
        "trainer.limit_val_batches=1",
        "trainer.limit_test_batches=1",
    )
    _, learner = build(cfg)
    lr, backprop, hidden = EXPERIMENTS[name]
    assert learner.optimizer.param_groups[0]["lr"] == lr
    assert isinstance(learner.network, PostNet)
    assert learner.network.context.convolutions[0].backprop == backprop
    first = learner.network.get_submodule("head.1")
    assert isinstance(first, nn.Linear)
    assert first.out_features == hidden[0]
    assert first.weight.requires_grad == (name != "draft_manual")
    scores = train(cfg, tmp_path / "run")
    assert scores["epochs"] == 2
    assert (tmp_path / "run" / "curves.png").is_file()
