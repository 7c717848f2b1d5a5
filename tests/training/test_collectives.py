"""What several processes compute together."""

import torch
from torch import nn

from context_agg.training.collectives import settle_sums


def test_settling_the_sums_changes_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    torch.manual_seed(0)
    x = torch.randn(2, 1, 5, 5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.random.get_rng_state()
    settle_sums(model, x)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)
