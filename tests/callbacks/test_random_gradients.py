"""Noise takes the place of some gradients and has their norms."""

from typing import Any

import pytest
import torch

from context_agg.callbacks.random_gradients import RandomGradients
from context_agg.cli.compose import compose_config
from context_agg.runs.build import build

NOTHING: Any = None


def started(*parts: str) -> tuple[RandomGradients, Any]:
    """The callback and a learner with gradients, at the start of training."""
    data, learner = build(compose_config("model=post", "backprop=manual_torch"))
    x, target = data.train.batch(slice(8))
    torch.autograd.backward(learner.loss(learner.network(x), target))
    callback = RandomGradients(parts)
    callback.on_fit_start(NOTHING, learner)
    return callback, learner


def test_the_parts_get_noise_of_the_same_norm_and_the_others_keep_their_gradients() -> None:
    callback, learner = started("context.layers.1", "head.1")
    true = {name: p.grad.clone() for name, p in learner.network.named_parameters()}
    drawn = []
    for _ in range(2):
        for name, parameter in learner.network.named_parameters():
            parameter.grad = true[name].clone()
        callback.on_before_optimizer_step(NOTHING, learner, NOTHING)
        drawn.append({name: p.grad for name, p in learner.network.named_parameters()})
    first, second = drawn
    changed = {name for name in true if not first[name].equal(true[name])}
    assert changed == {"context.layers.1.weight", "head.1.weight", "head.1.bias"}
    for name in changed:
        assert float(first[name].norm()) == pytest.approx(float(true[name].norm()), rel=1e-5)
        assert first[name].ne(second[name]).all()  # drawn anew at every step
    a, b = first["head.1.weight"].flatten(), true["head.1.weight"].flatten()
    assert abs(float(torch.nn.functional.cosine_similarity(a, b, 0))) < 0.01  # of 802,816 entries


def test_a_zero_gradient_stays_zero_and_a_frozen_part_has_none() -> None:
    callback, learner = started("context")
    first, second, *_ = learner.network.context.parameters()
    first.grad.zero_()
    second.grad = None
    callback.on_before_optimizer_step(NOTHING, learner, NOTHING)
    assert not first.grad.any()
    assert second.grad is None
