"""Describes in a few lines what a run is about to train, and its result."""

import shlex
from collections.abc import Mapping
from pathlib import Path

import lightning as L
import torch
from omegaconf import DictConfig
from torch import nn

from context_agg.cli import ranks
from context_agg.data.images import ImageData
from context_agg.networks.context import ContextModule, DilatedConv2d
from context_agg.networks.post import PostContext
from context_agg.ops.native import kernels
from context_agg.ops.native.compiler import HOW_TO_GET
from context_agg.runs.directory import SETTINGS
from context_agg.runs.start_from import starts_from_imagenet
from context_agg.training.arithmetic import rules


def describe_start(
    cfg: DictConfig,
    model: str,
    data: ImageData,
    network: nn.Module,
    trainer: L.Trainer,
    output_dir: Path,
) -> str:
    """Describes model, backprop, data, device, directory and initial weights, a line each."""
    parts = {name: _count(part) for name, part in network.named_children()}
    parameters = ", ".join(f"{name} {count:,}" for name, count in parts.items() if count)
    context = getattr(network, "context", None)
    if isinstance(context, ContextModule | PostContext):
        dilations = " ".join(str(conv.dilation[0]) for conv in context.convolutions)
        side = context.receptive_field
        shape = f"dilations {dilations}, C = {context.channels}, receptive field {side}x{side}"
    else:
        shape = "no context module"
    spec = data.spec
    height, width = spec.image_size
    lines = {
        "model": f"{model}: {shape}",
        "parameters": f"{_count(network):,} ({parameters}){_frozen(network)}",
        "backprop": _rules(network, trainer),
        "data": f"{spec.name}: {len(data.train):,} images to train on, {len(data.held_out):,} held "
        f"out ({data.held_out_name}), {len(data.test):,} to test; "
        f"{spec.in_channels}x{height}x{width}, {len(spec.classes)} classes",
        "device": _device_name(trainer.strategy.root_device) + _processes(data),
        "directory": str(output_dir),
        "if cut off": f"go on with: {go_on(output_dir)}",
    }
    if cfg.start_from is not None:
        lines["begins"] = f"with the weights of {cfg.start_from}"
    elif any(starts_from_imagenet(cfg, network)):
        lines["begins"] = "with ImageNet's weights in the front end"
    if blind := _blind_dilations(network, max(height, width)):
        lines["note"] = (
            f"dilation {', '.join(blind)}: off-centre taps see only padding in {height}x{width} "
            "images"
        )
    return "\n".join(f"{name:<11}{line}" for name, line in lines.items())


def go_on(output_dir: Path) -> str:
    """The command that goes on with a run."""
    return f"{ranks.command()} {shlex.quote(f'resume={output_dir}')}"


def kept(output_dir: Path, step: int) -> str:
    """Says up to where a run that ends early is kept, and how it goes on."""
    if not (output_dir / SETTINGS).is_file():
        return "nothing has begun; start again with the same command"
    if step == 0:
        return f"no step is kept yet; start again with: {go_on(output_dir)}"
    return f"all up to step {step:,} is kept; go on with: {go_on(output_dir)}"


def fit_scores(trainer: L.Trainer, last: Mapping[str, float], seconds: float) -> dict[str, float]:
    """The scores of a finished training: how long it took, and the accuracy of its last epoch.

    Args:
        trainer: the trainer after it.
        last: the scalars of the last epoch.
        seconds: how long it took.
    """
    return {
        "epochs": trainer.current_epoch,
        "seconds": seconds,
        "final/accuracy": last["val/accuracy"],
        "train/images_per_second": last["train/images_per_second"],
    }


def epochs(scores: Mapping[str, float]) -> str:
    """How long a run was, in words."""
    count = int(scores["epochs"])
    return f"{count} epoch{'s' * (count != 1)} in {scores['seconds']:.0f} s"


def describe_end(scores: Mapping[str, float], output_dir: Path) -> str:
    """Describes the test result and where the files are."""
    iou = f"IoU {scores['test/iou']:.4f}, " if "test/iou" in scores else ""
    return (
        f"test       {iou}accuracy {scores['test/accuracy']:.4f}, loss {scores['test/loss']:.4f} "
        f"(best checkpoint; {epochs(scores)})\n"
        f"directory  {output_dir}"
    )


def _blind_dilations(network: nn.Module, side: int) -> list[str]:
    """The dilations that reach beyond images of this side wherever a kernel stands."""
    if getattr(getattr(network, "context", None), "padding", "same") != "same":
        return []  # the layers see what earlier ones made of the padding
    layers = [layer for layer in network.modules() if isinstance(layer, DilatedConv2d)]
    dilations = {layer.dilation[0] for layer in layers if layer.kernel_size[0] > 1}
    return [str(dilation) for dilation in sorted(dilations) if dilation >= side]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _rules(network: nn.Module, trainer: L.Trainer) -> str:
    device = trainer.strategy.root_device
    found = ", ".join(rules(network, device, str(trainer.precision)))
    if not found:
        return "auto (no dilated convolution)"
    slow = "PyTorch's operations" in found and device.type == "cpu" and not kernels.available()
    return found + (f"; for our compiled kernels, {HOW_TO_GET}" if slow else "")


def _frozen(network: nn.Module) -> str:
    frozen = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    return f", of which {frozen:,} are frozen" if frozen else ""


def _processes(data: ImageData) -> str:
    if ranks.count() == 1:
        return ""
    machines = f" on {ranks.machines()} machines" if ranks.machines() > 1 else ""
    together = ranks.count() * data.batch_size
    return f" in each of {ranks.count()} processes{machines}, together {together:,} images a batch"


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"
