"""Builds the data, the learner and the trainer of a configuration."""

import copy
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.optim import Optimizer

from context_agg.callbacks.progress import RunProgress
from context_agg.cli import ranks
from context_agg.cli.values import check_values
from context_agg.data.batches import Shard
from context_agg.data.images import ImageData
from context_agg.data.spec import DataSpec
from context_agg.networks.vgg import VGGFrontEnd, imagenet_file
from context_agg.ops import is_native
from context_agg.runs.checkpoint_io import SafeCheckpointIO
from context_agg.runs.demands import check_batches, check_front_end_maps, check_loss, check_output
from context_agg.runs.memory import check_memory, check_step, size_keys
from context_agg.runs.parts import make
from context_agg.runs.run_logger import RunLogger
from context_agg.runs.schedule import make_schedule
from context_agg.runs.start_from import starts_from_imagenet
from context_agg.runs.steps import steps
from context_agg.training.class_weights import class_frequencies
from context_agg.training.learner import Learner
from context_agg.training.losses import WeightedCrossEntropy

RANDOM_PARTS = "callbacks.random_gradients.parts"


def build(cfg: DictConfig, shard: Shard | None = None) -> tuple[ImageData, Learner]:
    """Builds the data and the learner; the initial weights depend on `cfg.seed`.

    Args:
        cfg: configuration of the run.
        shard: the part of every batch that this process takes, if several train together.

    Raises:
        ValueError, InstantiationException: for a value that is not valid.
    """
    check_values(cfg)
    cfg = copy.deepcopy(cfg)  # instantiate resolves interpolations in place
    data = build_data(cfg)
    data.shard = shard or Shard()
    if data.shard.ranks > 1 and not data.train.one_size:
        raise ValueError(
            f"the training images have different sizes, and {data.shard.ranks} processes train on "
            "one batch together; cut all to one size with data.crop=[H,W], or start one process"
        )
    check_batches(cfg, data)
    check_network(cfg, data.spec)
    check_step(cfg.optimizer, torch.device(accelerator(cfg)))
    network = build_network(cfg, data.spec)
    if "front_end_maps" in cfg.callbacks:
        check_front_end_maps(data, network, torch.device(accelerator(cfg)))
    return data, build_learner(cfg, network, data)


def build_data(cfg: DictConfig) -> ImageData:
    """Builds the data; seeds all generators, so that what is drawn from now on depends on it.

    Raises:
        ValueError, InstantiationException: for a value that is not valid.
    """
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    # Lightning would seed with it again when several processes begin to train
    del os.environ["PL_GLOBAL_SEED"]
    return make(ImageData, "data", cfg.data)


def build_learner(cfg: DictConfig, network: nn.Module, data: ImageData) -> Learner:
    """Puts a network into its layout and precision, and what trains and scores it around it.

    Raises:
        ValueError, InstantiationException: for a value that is not valid.
    """
    if _channels_last(cfg):
        network.to(memory_format=torch.channels_last)
    if cfg.trainer.precision == "64-true":  # Lightning does it after it has read a checkpoint
        network.double()
    if cfg.compile:
        network.compile()
    optimizer = _optimizer(cfg, network)
    loss = make(nn.Module, "loss", cfg.loss)
    if isinstance(loss, WeightedCrossEntropy) and loss.from_data:
        loss.balance(class_frequencies(data.training_labels(), len(data.spec.classes)))
    check_loss(loss, data.spec)
    schedule = make_schedule(
        cfg.get("schedule"), optimizer, steps(cfg, len(data.train_dataloader()))
    )
    return Learner(network, optimizer, data.spec, loss, schedule)


def build_network(cfg: DictConfig, spec: DataSpec) -> nn.Module:
    """Builds the network for these data; its frozen parts ask for no gradients.

    Raises:
        ValueError, InstantiationException: for a value that is not valid.
    """
    network = make(nn.Module, "model", cfg.model, **spec.shapes)
    for part in cfg.frozen:
        _part(network, "frozen", part).requires_grad_(False)
    for part in OmegaConf.select(cfg, RANDOM_PARTS) or ():
        _part(network, RANDOM_PARTS, part)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        parts = {name.partition(".")[0] for name, _ in network.named_parameters()}
        raise ValueError(
            f"frozen={cfg.frozen} leaves nothing to train; leave out one of the network's parts: "
            f"{', '.join(sorted(parts))}"
        )
    return network


def check_network(cfg: DictConfig, spec: DataSpec) -> nn.Module:
    """Rejects a network that cannot be built, has another output, or does not fit into memory.

    Returns:
        The network, as `network_without_memory` gives it.

    Raises:
        ValueError, InstantiationException: for a value that is not valid.
    """
    network = network_without_memory(cfg, spec)
    check_memory(cfg, network, torch.device(accelerator(cfg)))
    check_output(network, spec)
    return network


def network_without_memory(cfg: DictConfig, spec: DataSpec) -> nn.Module:
    """Builds the network on PyTorch's meta device, where tensors have a shape and no content.

    Raises:
        ValueError, InstantiationException: for a value that is not valid.
    """
    try:
        with torch.device("meta"):
            return build_network(cfg, spec)
    except InstantiationException as error:
        if "overflow" in str(error).lower():
            sizes = size_keys(cfg)
            raise ValueError(f"model: PyTorch cannot count its weights; lower {sizes}") from error
        raise


def check_parts(configs: Iterable[DictConfig]) -> None:
    """Makes the parts of every run of a sweep, before the first run: data, network, loss and so on.

    Data are read once, and once more for every value of theirs that the sweep varies.

    Raises:
        InstantiationException: for a value that a constructor rejects.
        OSError, ValueError: if weights to start from are missing.
    """
    found: dict[str, tuple[DataSpec, int]] = {}  # with the number of training batches
    from_imagenet: list[VGGFrontEnd] = []
    for cfg in map(copy.deepcopy, configs):  # instantiate resolves interpolations in place
        data = OmegaConf.to_yaml(cfg.data)  # the seed in it is an interpolation still
        if data not in found:
            read = make(ImageData, "data", cfg.data)
            found[data] = read.spec, len(read.train_dataloader())
        spec, batches = found[data]
        network = check_network(cfg, spec)
        from_imagenet += starts_from_imagenet(cfg, network)
        make_schedule(cfg.get("schedule"), _optimizer(cfg, network), steps(cfg, batches))
        loss = make(nn.Module, "loss", cfg.loss)
        if isinstance(loss, WeightedCrossEntropy) and loss.from_data:
            loss.balance(torch.ones(len(spec.classes)))  # any will do to try it
        check_loss(loss, spec)
        build_callbacks(cfg, spec)
    if from_imagenet:
        imagenet_file()


def build_callbacks(cfg: DictConfig, spec: DataSpec) -> list[L.Callback]:
    """The callbacks of a run; what makes a checkpoint the best depends on the data."""
    options: dict[Any, dict[str, Any]] = {
        "best_checkpoint": {"dense": spec.dense},
        "first_loss": {"fresh": cfg.start_from is None},
        "front_end_maps": {"frozen": list(cfg.frozen)},
    }
    return [
        make(L.Callback, f"callbacks.{name}", part, **options.get(name, {}))
        for name, part in cfg.callbacks.items()
    ]


def build_trainer(cfg: DictConfig, *, together: bool = False, **options: Any) -> L.Trainer:
    """Builds the trainer.

    Args:
        cfg: configuration of the run.
        together: whether to train with the processes that torchrun or srun has started, if the
            configuration says so; else this one works alone.
        options: Lightning's options that the configuration lacks.
    """
    together = together and cfg.trainer.get("strategy") == "ddp"
    on_terminal = sys.stdout.isatty()
    progress = [RunProgress()] if on_terminal else []
    options |= {
        "accelerator": accelerator(cfg),
        "callbacks": [*options.get("callbacks", ()), *progress],
        "deterministic": cfg.determinism == "strict",
        "enable_progress_bar": on_terminal,
        "use_distributed_sampler": False,  # `Shard` divides the batches
    }
    # Lightning would look for a launcher, and warn where Slurm is installed and not used.
    environment = TorchElasticEnvironment() if together else LightningEnvironment()
    options["plugins"] = [SafeCheckpointIO(), environment]
    if together:
        options |= {"devices": ranks.on_each_machine(), "num_nodes": ranks.machines()}
    elif "strategy" in cfg.trainer:
        options["strategy"] = "auto"
    trainer = make(L.Trainer, "trainer", cfg.trainer, **options, _convert_="all")
    # The signals have one owner, cli/signals.py. Lightning would take SIGTERM over while it runs,
    # and exit with code 0, without a checkpoint, if it arrived near a validation.
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def build_logger(output_dir: Path, *, purge_step: int) -> RunLogger:
    """Builds what writes the curves.

    Args:
        output_dir: where.
        purge_step: the first step whose scalars in earlier event files do not count.
    """
    return RunLogger(
        output_dir, name="", version="", default_hp_metric=False, purge_step=purge_step
    )


def accelerator(cfg: DictConfig) -> str:
    """The device to compute on: "cuda" or "cpu".

    "auto" never selects MPS, whose convolutions have had wrong gradients.
    """
    chosen: str = cfg.trainer.accelerator
    if chosen == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return chosen


def _channels_last(cfg: DictConfig) -> bool:
    """Whether this layout is faster than NCHW; docs/benchmarks.md has what was measured."""
    fast = cfg.backprop == "auto" or is_native(cfg.backprop, torch.device("cpu"), torch.float32, 1)
    return accelerator(cfg) == "cpu" and fast


def _optimizer(cfg: DictConfig, network: nn.Module) -> Optimizer:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return make(Optimizer, "optimizer", cfg.optimizer, trained)


def _part(network: nn.Module, key: str, name: str) -> nn.Module:
    try:
        return network.get_submodule(name)
    except AttributeError:
        parts = ", ".join(part for part, _ in network.named_modules() if part)
        raise ValueError(f"{key}={name}: the network has no such part; it has {parts}") from None
