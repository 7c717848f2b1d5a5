"""The best epoch is the one with the largest accuracy, or with the smallest loss."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from tests.tiny_run import run, scalars


@pytest.mark.parametrize(
    ("monitor", "best"),
    [("val/loss", min), pytest.param("val/accuracy", max, marks=pytest.mark.slow)],
    ids=["loss", "accuracy"],
)
def test_the_best_epoch_is_kept(
    monitor: str, best: Callable[[Sequence[float]], float], tmp_path: Path
) -> None:
    whole = ("trainer.limit_train_batches=1.0", "trainer.limit_val_batches=1.0")
    run(tmp_path, f"callbacks.best_checkpoint.monitor={monitor}", *whole)
    values = scalars(tmp_path)[monitor]
    assert len(set(values)) > 1
    kept = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert kept["epoch"] == values.index(best(values))
