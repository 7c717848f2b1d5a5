"""Gradient noise has the variance that its paper gives."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from context_agg.callbacks.gradient_noise import GradientNoise


class Steps:
    """Stands for a trainer that has taken `steps` steps."""

    def __init__(self, steps: int) -> None:
        self.global_step = steps


@pytest.mark.parametrize("step", [0, 99])
def test_gradient_noise_has_the_papers_variance(step: int) -> None:
    torch.manual_seed(0)
    layer: Any = nn.Linear(300, 300)
    layer.weight.grad = torch.ones_like(layer.weight)
    trainer: Any = Steps(step)
    optimizer: Any = None
    GradientNoise(eta=0.3).on_before_optimizer_step(trainer, layer, optimizer)
    noise = layer.weight.grad - 1
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)
    assert float(noise.std()) == pytest.approx(math.sqrt(0.3 / (1 + step) ** 0.55), rel=0.02)
    assert layer.bias.grad is None
