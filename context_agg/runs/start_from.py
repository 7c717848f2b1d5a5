"""What a run starts from: the weights of an earlier stage, those of ImageNet, or random ones."""

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from context_agg.data.spec import DataSpec
from context_agg.networks.vgg import VGGFrontEnd, imagenet_file
from context_agg.runs.load import check_types, read_weights
from context_agg.runs.records import read_spec
from context_agg.runs.settings import read_settings

# Settings of a network that its weights do not depend on, once they are trained
ONLY_AT_THE_START = {"init", "init_std", "backprop", "weights", "recompute", "dropout"}


def load_start(cfg: DictConfig, network: nn.Module, spec: DataSpec) -> None:
    """Gives a network, with its random weights, those that `cfg` says it starts from.

    Raises:
        FileNotFoundError: if the weights of ImageNet are missing and cannot be downloaded.
        OSError, ValueError: if their file is damaged, and as `start_from`.
    """
    if from_imagenet := list(starts_from_imagenet(cfg, network)):
        file = imagenet_file()
        for front_end in from_imagenet:
            front_end.load_imagenet(file)
    start_from(cfg, network, spec)


def starts_from_imagenet(cfg: DictConfig, network: nn.Module) -> Iterator[VGGFrontEnd]:
    """The front ends of a network that start from ImageNet's weights, not from an earlier run's."""
    if cfg.start_from is None or "front_end" in cfg.fresh:
        for module in network.modules():
            if isinstance(module, VGGFrontEnd) and module.weights == "imagenet":
                yield module


def start_from(cfg: DictConfig, network: nn.Module, spec: DataSpec) -> None:
    """Loads the best weights of the run `cfg.start_from`, if set, into a network.

    The parts that the run has trained and those that start afresh (`cfg.fresh`) must together be
    the whole network, without overlap; this rejects the run of a wrong stage. The parts that are
    kept must have been trained with the same settings, except that the `lift` of a front end may
    change if the context module is new.

    Args:
        cfg: configuration of this run.
        network: network of this run, with its initial weights.
        spec: description of this run's data.

    Raises:
        FileNotFoundError: if the directory holds no trained run.
        ValueError: if the run does not fit; the network is then unchanged.
    """
    if cfg.start_from is None:
        return
    run_dir, fresh = Path(cfg.start_from), set(cfg.fresh)
    parts = {name for name, _ in network.named_children()}
    if unknown := fresh - parts:
        raise ValueError(f"fresh={unknown.pop()}: the parts of this network are {_list(parts)}")
    start = f"start_from={run_dir}: the run has"
    settings, trained_on = read_settings(run_dir), read_spec(run_dir)
    weights = read_weights(run_dir)
    for name in ("dense", "in_channels", "classes"):
        ours, theirs = getattr(spec, name), getattr(trained_on, name)
        if ours != theirs:
            raise ValueError(
                f"{start} been trained on {trained_on.name} with {name}={theirs}; these data, "
                f"{spec.name}, have {name}={ours}"
            )
    if over := _parts(weights) & fresh:
        raise ValueError(
            f"{start} trained {_list(over)} too, which starts afresh here; name the run of an "
            "earlier stage"
        )
    try:
        missing, extra = copy.deepcopy(network).load_state_dict(weights, strict=False)
    except RuntimeError as error:
        _, detail, *_ = str(error).splitlines()
        raise ValueError(f"{start} a layer of another size: {detail.strip()}") from None
    check_types(network, weights, run_dir)
    if other := _parts(missing) & _parts(weights) | _parts(extra) & parts:
        raise ValueError(f"{start} other layers in {_list(other)}; the networks must be the same")
    if extra:
        raise ValueError(
            f"{start} trained {_list(_parts(extra))} too, which this network does not have; name "
            "the run of an earlier stage"
        )
    if absent := _parts(missing) - fresh:
        raise ValueError(
            f"{start} no {_list(absent)}, which this network has; name the run of a later stage, "
            f"or start that part afresh with fresh=[{_list(absent)}]"
        )
    for key, ours, theirs in _differences(cfg, settings, context_kept="context" not in fresh):
        raise ValueError(f"{start} {key}={theirs}, this one {ours}; set {key}={theirs}")
    network.load_state_dict(weights, strict=False)


def _differences(
    cfg: DictConfig, settings: DictConfig, *, context_kept: bool
) -> Iterator[tuple[str, object, object]]:
    """Settings of the front end and context module that both runs have, with different values."""
    for group in ("front_end", "model") if context_kept else ("front_end",):
        ours, theirs = cfg.get(group) or {}, settings.get(group) or {}
        both = (ours.keys() & theirs.keys()) - ONLY_AT_THE_START - {"front_end", "_target_"}
        for name in sorted(both):
            may_change = name == "lift" and not context_kept
            if ours[name] != theirs[name] and not may_change:
                yield f"{group}.{name}", ours[name], theirs[name]


def _parts(keys: Iterable[str]) -> set[str]:
    return {key.split(".")[0] for key in keys}


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
