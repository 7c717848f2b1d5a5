"""The warning of a first loss that is too large, where several processes train."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from context_agg.callbacks import first_loss
from context_agg.data.spec import DataSpec
from context_agg.training.learner import Learner

SPEC = DataSpec("scenes", 3, (5, 7), tuple("abcd"), dense=True)


@pytest.mark.parametrize(("own", "others", "warned"), [(0.5, 9.5, "5.0"), (8, 0, None)])
def test_the_first_loss_is_that_of_the_whole_batch(
    own: float, others: float, warned: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares are uneven where the void pixels are; 3 ln(4) = 4.16 lies between share and mean."""
    monkeypatch.setattr(first_loss, "processes", lambda: 2)
    monkeypatch.setattr(first_loss, "total", lambda share: share + others)
    network = nn.Conv2d(3, 4, 1)
    learner = Learner(network, torch.optim.SGD(network.parameters()), SPEC)
    printed = Mock()
    monkeypatch.setattr(learner, "print", printed)
    trainer: Any = SimpleNamespace(current_epoch=0, accumulate_grad_batches=1)
    callback = first_loss.FirstLoss(fresh=True)
    callback.on_train_batch_end(trainer, learner, {"loss": torch.tensor(float(own))}, None, 0)
    lines = [call.args[0] for call in printed.call_args_list]
    assert len(lines) == (warned is not None)
    assert all(f"the first loss is {warned}, more" in line for line in lines)
