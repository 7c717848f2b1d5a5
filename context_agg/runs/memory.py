"""Whether a network fits into memory, answered before any of it is allocated."""

import copy
import inspect
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor, nn
from torch.optim import Optimizer

from context_agg.runs.parts import make

SIZES = ("model.channels", "model.widths", "model.hidden", "front_end.widths")


def check_memory(cfg: DictConfig, network: nn.Module, device: torch.device) -> None:
    """Rejects a network whose training needs more memory than the device has.

    What counts is the weights, their gradients and the optimizer's averages; the maps of a batch
    come on top of them. Nothing is put on the device: the parent of a sweep would hold on to it.

    Args:
        cfg: configuration of the run.
        network: the network, whose parameters can be on the meta device.
        device: where it will be trained.

    Raises:
        ValueError: if it does not fit.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    count = sum(parameter.numel() for parameter in network.parameters())
    copies = 1 + _averages(cfg.optimizer, device)  # a gradient, and so many averages
    numbers = count + copies * sum(parameter.numel() for parameter in trained)
    needed = numbers * (8 if cfg.trainer.precision == "64-true" else 4)
    if needed > (present := available(device)):
        holder = "the GPU" if device.type == "cuda" else "this machine"
        raise ValueError(
            f"model: to train {count:,} parameters takes {_gigabytes(needed)} of memory for the "
            f"weights, their gradients and the optimizer's averages, but {holder} has "
            f"{_gigabytes(present)}; lower {size_keys(cfg)}"
        )


def size_keys(cfg: DictConfig) -> str:
    """The keys of this configuration that the size of its network depends on."""
    return " or ".join(key for key in SIZES if OmegaConf.select(cfg, key))


def _averages(optimizer: DictConfig, device: torch.device) -> int:
    """How many numbers the optimizer keeps for every weight, 2 for Adam."""
    options = copy.deepcopy(optimizer)  # it keeps the key, which a refusal names
    if device.type == "cuda":  # where it keeps no more; the CPU refuses it
        with open_dict(options):
            options.pop("capturable", None)
    probe, state = _first_step(options, torch.device("cpu"))
    return sum(torch.is_tensor(value) and value.shape == probe.shape for value in state.values())


def check_step(optimizer: DictConfig, device: torch.device) -> None:
    """Rejects options of an optimizer that exclude each other, or the device.

    It uses the device, so it is for a process that will train there.

    Raises:
        ValueError: with what the optimizer says.
    """
    _first_step(optimizer, device)


def _first_step(optimizer: DictConfig, device: torch.device) -> tuple[Tensor, dict[str, Any]]:
    """Trains a small parameter for a step; gives it, and what the optimizer keeps of it."""
    probe = nn.Parameter(torch.zeros(2, device=device))
    probe.grad = torch.zeros_like(probe)
    tried = make(Optimizer, "optimizer", optimizer, [probe])
    closure = inspect.signature(tried.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise ValueError(
            f"optimizer: {optimizer._target_} needs a closure, to compute the loss several times "
            "in a step, and a run computes it once; choose another"
        )
    try:
        tried.step()
    except (AssertionError, RuntimeError) as error:
        options = ", ".join(
            f"{key}={optimizer[key]}" for key in map(str, optimizer) if key != "_target_"
        )
        raise ValueError(f"optimizer: a step fails with {options}: {error}") from error
    return probe, tried.state[probe]


def available(device: torch.device) -> int:
    """The memory in bytes that this process can have on the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(physical, *limits(Path("/")))


def limits(root: Path) -> Iterator[int]:
    """The limits in bytes of the control groups that this process belongs to (Linux).

    The limit of a group also holds for the groups below it.
    """
    membership = root / "proc/self/cgroup"  # a line is NUMBER:CONTROLLERS:PATH
    for line in membership.read_text().splitlines() if membership.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif controllers == "memory":
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for folder in (group, *group.parents):
            file = top / folder / name
            if file.is_file() and (limit := file.read_text().strip()).isdigit():  # or "max"
                yield int(limit)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"
