"""Data, learner and trainer of a configuration."""

import copy
import sys
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from context_agg.data.images import ImageData
from context_agg.training.learner import Learner


def build(cfg: DictConfig) -> tuple[ImageData, Learner]:
    """Data and learner of one configuration."""
    cfg = copy.deepcopy(cfg)  # instantiate resolves interpolations in what it is given
    data: ImageData = instantiate(cfg.data)
    network = instantiate(cfg.model, **data.spec.shapes)
    for part in cfg.frozen:
        _part(network, part).requires_grad_(False)
    if cfg.compile:
        network.compile()
    optimizer = instantiate(cfg.optimizer, [p for p in network.parameters() if p.requires_grad])
    loss, schedule = instantiate(cfg.loss), instantiate(cfg.get("schedule"))
    return data, Learner(network, optimizer, data.spec, loss, schedule)


def _part(network: nn.Module, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError:
        parts = ", ".join(part for part, _ in network.named_modules() if part)
        raise ValueError(f"frozen={name}: the network has no such part, but {parts}") from None


def build_trainer(cfg: DictConfig, **options: Any) -> L.Trainer:
    """The trainer, on CUDA or the CPU.

    `auto` never is MPS: its convolutions have had wrong gradients.
    """
    accelerator = cfg.trainer.accelerator
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    options |= {"accelerator": accelerator, "enable_progress_bar": sys.stdout.isatty()}
    trainer: L.Trainer = instantiate(cfg.trainer, **options, _convert_="all")
    return trainer
