"""Rejects what a configuration demands and its data cannot give."""

import torch
from omegaconf import DictConfig
from torch import nn

from context_agg.callbacks.profile_steps import ProfileSteps
from context_agg.data.images import ImageData
from context_agg.data.spec import DataSpec
from context_agg.networks.context_net import ContextNet
from context_agg.runs.memory import available
from context_agg.runs.parts import make
from context_agg.runs.steps import batches


def check_batches(cfg: DictConfig, data: ImageData) -> None:
    """Rejects a share of less than one batch, and a profile longer than the run.

    Raises:
        ValueError: for one of these.
    """
    present = {
        "train": len(data.train_dataloader()),
        "val": len(data.val_dataloader()),
        "test": len(data.test_dataloader()),
    }
    used = {}
    for part, there in present.items():
        name = f"limit_{part}_batches"
        limit = cfg.trainer.get(name, 1.0)
        if isinstance(limit, float) and limit * there < 1:
            raise ValueError(
                f"trainer.{name}={limit} of {there:,} batches is less than one; "
                f"use trainer.{name}=1 for one batch"
            )
        used[part] = batches(cfg, part, there)
    if "profile" in cfg.callbacks:
        profile = make(ProfileSteps, "callbacks.profile", cfg.callbacks.profile)
        there, needed = used["train"] * cfg.trainer.max_epochs, profile.warmup + profile.steps
        if needed > there:
            raise ValueError(
                f"callbacks.profile: warmup={profile.warmup} and steps={profile.steps} need "
                f"{needed:,} batches, and the run trains on {there:,}; lower them, or raise "
                "trainer.limit_train_batches or trainer.max_epochs"
            )


def check_front_end_maps(data: ImageData, network: nn.Module, device: torch.device) -> None:
    """Rejects maps that cannot be kept: of views without end, or too many for the memory."""
    if not isinstance(network, ContextNet):
        raise ValueError("callbacks=front_end_maps: this model has no front end; leave it out")
    if not data.train.finite:
        raise ValueError(
            "callbacks=front_end_maps: training images are cropped or scaled at random, so no map "
            "is needed twice; use callbacks=default, or set data.crop=null data.zoom=0"
        )
    with torch.no_grad():
        one = network.front_end(torch.zeros(1, data.spec.in_channels, *data.spec.image_size))
    needed = one.nbytes * (2 * len(data.train) + len(data.held_out))
    if needed > (present := available(device)):
        raise ValueError(
            f"callbacks=front_end_maps would keep {needed / 1e9:,.1f} GB of maps, and there are "
            f"{present / 1e9:,.1f} GB of memory; leave it out"
        )


def check_output(network: nn.Module, spec: DataSpec) -> None:
    """Rejects a network that does not give a logit for every class; tries it on one image.

    One that needs memory to compute is not tried.

    Args:
        network: on the meta device; it is in evaluation mode afterwards.
        spec: the data that it is for.

    Raises:
        ValueError: for another output than (1, K), or (1, K, H, W) for dense data.
    """
    with torch.device("meta"), torch.no_grad():
        image = torch.empty(1, spec.in_channels, *spec.image_size)
        try:
            logits = network.eval()(image)
        except Exception:  # whatever needs the content of a tensor
            return
    wanted = (1, len(spec.classes), *(spec.image_size if spec.dense else ()))
    if not isinstance(logits, torch.Tensor):
        raise ValueError(
            f"model: for one image it gives a {type(logits).__name__}, not a tensor of shape "
            f"{wanted}"
        )
    if logits.shape != wanted:
        each = "for every pixel" if spec.dense else "for the image"
        raise ValueError(
            f"model: for one image it gives {tuple(logits.shape)}, not {wanted}: a number {each} "
            f"and each of the {len(spec.classes)} classes"
        )


def check_loss(loss: nn.Module, spec: DataSpec) -> None:
    """Rejects a loss that does not give one number for a batch; tries it on an empty image."""
    pixel = (1, 1) if spec.dense else ()
    try:
        result = loss(torch.zeros(1, len(spec.classes), *pixel), torch.zeros(1, *pixel).long())
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"loss: {error}") from error
    if result.dim():
        raise ValueError("loss: it must give one number for a batch; leave out loss.reduction")
