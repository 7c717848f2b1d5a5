"""What is built from a configuration."""

from pathlib import Path

import torch

from context_agg.cli.compose import compose_config
from context_agg.runs.build import build
from context_agg.train import train


def test_frozen_parts_keep_their_initial_weights(tmp_path: Path) -> None:
    cfg = compose_config("debug=step", "model.channels=2", "frozen=[context]")
    before = build(cfg)[1].network.state_dict()
    torch.manual_seed(0)
    train(cfg, tmp_path)
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    for name, start in before.items():
        if name.startswith("context."):
            assert torch.equal(start, saved[f"network.{name}"])  # same for every seed
