"""Loads what a run has trained: its weights, and its network with them."""

import os
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from safetensors.torch import load
from torch import Tensor, nn

from context_agg.data.spec import DataSpec
from context_agg.runs import checkpoints
from context_agg.runs.directory import BEST, SETTINGS, WEIGHTS
from context_agg.runs.reading import WAY_OUT, read_bytes, short
from context_agg.runs.records import read_spec
from context_agg.runs.settings import built_from, read_settings

PREFIX = "network."  # of the names that a checkpoint gives to the network's weights
REAL = (torch.float32, torch.float64)
COUNTS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
"""Of buffers alone, such as the number of batches that BatchNorm has seen."""


def read_weights(run_dir: Path) -> dict[str, Tensor]:
    """Reads the network's weights from the best checkpoint, or from an exported run.

    Raises:
        FileNotFoundError: if there is neither.
        OSError, ValueError: if the file is damaged, or the weights are not finite.
    """
    file = next((run_dir / n for n in (WEIGHTS, BEST) if os.path.lexists(run_dir / n)), None)
    if file is None:
        raise FileNotFoundError(f"{run_dir} holds neither {BEST} nor {WEIGHTS}: no trained weights")
    state: dict[Any, Any]
    try:
        if file.name == WEIGHTS:
            state = _read_safetensors(file)
        else:
            state = checkpoints.read(file)["state_dict"]
            ours = [name for name in state if str(name).startswith(PREFIX)]
            state = {name.removeprefix(PREFIX): state[name] for name in ours}
    except ValueError as error:
        raise ValueError(f"{error}; {WAY_OUT}") from error
    for name, value in state.items():
        if problem := _problem(value, file.stat().st_size):
            raise ValueError(f"{file}: {name} {problem}; {WAY_OUT}")
    if not state:
        raise ValueError(f"{file} holds no weights of a network; {WAY_OUT}")
    return state


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    content = read_bytes(file, checkpoints.most_bytes())
    try:
        return load(content)
    except Exception as error:  # whatever a file can contain
        raise ValueError(f"{file} is damaged: {short(error)}") from error


def _problem(value: Any, most: int) -> str | None:
    """What is wrong with something that should be weights; `most` is the size of its file."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
        return f"is not a plain tensor ({type(value).__name__})"
    if value.nbytes > most:
        return f"has {value.numel():,} elements, more than its file holds"
    if value.dtype not in REAL + COUNTS:
        return f"is of type {value.dtype}, not float32 or float64, nor of whole numbers"
    if not value.isfinite().all():
        return "is not finite (NaN or infinite)"
    return None


def check_fit(network: nn.Module, weights: dict[str, Tensor], run_dir: Path) -> None:
    """Rejects weights that are not those of a network with these settings.

    Args:
        network: the network, whose parameters can be on the meta device.
        weights: as `read_weights` gives them.
        run_dir: the run that both are from.

    Raises:
        ValueError: naming the first difference.
    """
    needed = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    for name in (*needed, *given):
        if needed.get(name) != given.get(name):
            theirs, ours = (
                f"of shape {shapes[name]}" if name in shapes else "absent"
                for shapes in (given, needed)
            )
            raise ValueError(
                f"{run_dir}: the weights do not fit {SETTINGS}: {name} is {theirs}, but in a "
                f"network with these settings {ours}"
            )
    check_types(network, weights, run_dir)


def check_types(network: nn.Module, weights: dict[str, Tensor], run_dir: Path) -> None:
    """Rejects whole numbers where a network has real ones, and the other way round.

    Real ones are float32 or float64, whatever the network has; of whole ones the type is the same.

    Raises:
        ValueError: naming the first that is of another type.
    """
    for name, ours in network.state_dict().items():
        if name not in weights or (theirs := weights[name].dtype) == ours.dtype:
            continue
        if not (theirs in REAL and ours.dtype in REAL):
            raise ValueError(
                f"{run_dir}: the weights do not fit {SETTINGS}: {name} is of type {theirs}, but in "
                f"a network with these settings {ours.dtype}"
            )


def load_weights(network: nn.Module, weights: dict[str, Tensor], run_dir: Path) -> None:
    """Loads a run's weights into a network built from its configuration.

    Raises:
        ValueError: if they do not fit.
    """
    check_fit(network, weights, run_dir)
    network.load_state_dict(weights)


def load_network(run_dir: Path) -> tuple[nn.Module, DataSpec]:
    """Loads a run's trained network on the CPU, in evaluation mode, without reading any data set.

    Raises:
        OSError, ValueError: as `read_settings`, `read_spec` and `read_weights`; if they do not fit
            together.
    """
    cfg, spec, weights = read_settings(run_dir), read_spec(run_dir), read_weights(run_dir)
    with built_from(run_dir), torch.device("meta"):  # no memory, whatever the settings ask for
        network: nn.Module = instantiate(cfg.model, **spec.shapes)
    check_fit(network, weights, run_dir)
    if any(name not in weights for name, _ in network.named_buffers()):
        with built_from(run_dir):  # with memory: what is not saved has to be computed
            network = instantiate(cfg.model, **spec.shapes)
        network.to(next(value.dtype for value in weights.values() if value.is_floating_point()))
    network.load_state_dict(weights, assign=True)  # in place of those without memory
    return network.eval(), spec
