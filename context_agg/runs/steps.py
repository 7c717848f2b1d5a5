"""How many batches and steps a run takes."""

import math

from omegaconf import DictConfig


def batches(cfg: DictConfig, part: str, there: int) -> int:
    """The batches of an epoch that a run uses.

    Args:
        cfg: configuration of the run.
        part: "train", "val" or "test".
        there: the batches that the data have.
    """
    limit: float = cfg.trainer.get(f"limit_{part}_batches", 1.0)
    return int(limit * there) if isinstance(limit, float) else min(limit, there)


def steps(cfg: DictConfig, there: int) -> int:
    """The steps of the optimizer in a whole run whose training data have so many batches."""
    accumulated = cfg.trainer.get("accumulate_grad_batches", 1)
    return int(cfg.trainer.max_epochs * math.ceil(batches(cfg, "train", there) / accumulated))
