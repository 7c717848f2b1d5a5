"""A run on a few small batches, and the scalars and files that it writes."""

from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from context_agg.cli.compose import compose_config
from context_agg.train import train

TINY = [
    "model.channels=2",
    "data.batch_size=8",
    "trainer.accelerator=cpu",
    "trainer.limit_train_batches=10",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
]


def run(output_dir: Path, *overrides: str) -> dict[str, float]:
    return train(compose_config(*TINY, "trainer.max_epochs=2", *overrides), output_dir)


def scalars(run_dir: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    return dict(checkpoint["state_dict"])
