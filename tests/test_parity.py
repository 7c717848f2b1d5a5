"""A run computes what a plain loop in torch computes, to the last bit.

Nothing here is ours but the images and the initial weights. Lightning's own test of this kind
compares to five decimals.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from context_agg.cli.compose import compose_config
from context_agg.data.digits import digit_sets
from context_agg.networks.context_net import ContextNet
from context_agg.train import train
from context_agg.training.learner import Learner

CHANNELS = 4
BATCH = 32
EPOCHS = 3
STEPS = 100  # 1,257 images are 40 batches, so 100 steps end in the third epoch


def plain_network(seed: int) -> nn.Sequential:
    """The basic context network as layers of torch, with the initial weights of ours."""
    torch.manual_seed(seed)
    dilations = (1, 1, 2, 4, 8, 16, 1)
    ours = ContextNet(
        CHANNELS, dilations, (1,) * 7, in_channels=1, image_size=(28, 28), num_classes=10
    )
    layers: list[nn.Module] = [nn.Conv2d(1, CHANNELS, 3, padding=1), nn.ReLU()]
    for dilation in dilations:
        conv = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation)
        layers += [conv, nn.ReLU()]
    layers += [nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Flatten(), nn.Linear(CHANNELS * 784, 10)]
    network = nn.Sequential(*layers)
    with torch.no_grad():
        for theirs, weight in zip(network.parameters(), ours.parameters(), strict=True):
            theirs.copy_(weight)
    return network


def plain_batches(seed: int) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """The batches of all epochs, and whether a batch is the last of its epoch."""
    (images, target), _, _ = digit_sets()
    for epoch in range(EPOCHS):
        order = np.random.default_rng((seed, epoch)).permutation(len(images))
        for start in range(0, len(images), BATCH):
            index = torch.from_numpy(order[start : start + BATCH])
            x = images[index].float() / 255
            # of one channel, but called channels last: torch's last bits depend on it
            x = x.as_strided(x.shape, (28 * 28, 1, 28, 1))
            yield x, target[index], start + BATCH >= len(images)


def plain_losses(
    seed: int, optimizer: str, accumulate: int = 1, steps: int | None = None
) -> tuple[list[Tensor], nn.Module]:
    """The loss of every batch, and the trained network."""
    network = plain_network(seed)
    parameters = network.parameters()
    rule: torch.optim.Optimizer = torch.optim.Adam(parameters, lr=0.001)
    if optimizer == "sgd":
        rule = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, steps) if steps else None
    losses = []
    for number, (x, target, last) in enumerate(plain_batches(seed), start=1):
        loss = cross_entropy(network(x), target)
        losses.append(loss.detach())
        (loss / accumulate).backward()
        if last or (number - 1) % 40 % accumulate == accumulate - 1:
            rule.step()
            rule.zero_grad()
            if schedule:
                schedule.step()
    return losses, network


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        ((), {"optimizer": "adam"}),
        pytest.param(
            ("optimizer=sgd", "schedule=cosine"),
            {"optimizer": "sgd", "steps": 40 * EPOCHS},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ("+trainer.accumulate_grad_batches=3",),
            {"optimizer": "adam", "accumulate": 3},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["adam", "sgd with a schedule", "accumulated"],
)
def test_losses_and_weights_equal_those_of_a_plain_loop(
    overrides: tuple[str, ...],
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    losses: list[Tensor] = []
    original = Learner.training_step

    def training_step(self: Learner, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = original(self, batch)
        losses.append(loss.detach())
        return loss

    monkeypatch.setattr(Learner, "training_step", training_step)
    cfg = compose_config(
        "backprop=auto",
        f"model.channels={CHANNELS}",
        "data.shift=0",
        "seed=7",
        "trainer.accelerator=cpu",
        f"trainer.max_epochs={EPOCHS}",
        *overrides,
    )
    train(cfg, tmp_path)
    expected, network = plain_losses(7, **options)
    assert len(losses) == len(expected) >= STEPS
    assert torch.equal(torch.stack(losses), torch.stack(expected))
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for weight, theirs in zip(saved.values(), network.parameters(), strict=True):
        assert torch.equal(weight, theirs)
