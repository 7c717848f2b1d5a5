"""Reads a trained run: its network, its configuration, its description of the data."""

from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from context_agg.cli.compose import CONF
from context_agg.data.spec import DataSpec
from context_agg.runs.directory import BEST, SETTINGS, WEIGHTS, check_format, read_spec


def read_settings(run_dir: Path) -> DictConfig:
    """Reads the configuration of a run.

    Raises:
        FileNotFoundError: if this is not the directory of a run.
        ValueError: if it has another format, cannot be read, or names a `_target_` that is not in
            conf/, because instantiating a target runs code.
    """
    if not run_dir.is_dir():
        raise FileNotFoundError(f"there is no folder {run_dir}")
    if not (run_dir / SETTINGS).is_file():
        raise FileNotFoundError(f"{run_dir} is not the directory of a run: no {SETTINGS} in it")
    check_format(run_dir)
    try:  # resolved here, because an interpolation can produce a `_target_`
        settings = OmegaConf.to_container(OmegaConf.load(run_dir / SETTINGS), resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ValueError(f"cannot read {run_dir / SETTINGS}: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{run_dir / SETTINGS} is not a configuration")
    ours = {
        target
        for file in CONF.rglob("*.yaml")
        for target in _targets(yaml.safe_load(file.read_text()))
    }
    if unknown := set(_targets(settings)) - ours:
        raise ValueError(
            f"{run_dir / SETTINGS} names {', '.join(sorted(unknown))}, which no file of conf/ "
            "names; it could run any code"
        )
    return OmegaConf.create(settings)


def read_weights(run_dir: Path) -> dict[str, Tensor]:
    """Reads the network's weights from the best checkpoint, or from an exported run.

    Raises:
        FileNotFoundError: if there is neither.
        ValueError: if the file is damaged.
    """
    file = next((run_dir / n for n in (WEIGHTS, BEST) if (run_dir / n).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"{run_dir} holds neither {BEST} nor {WEIGHTS}: no trained weights")
    try:
        if file.name == WEIGHTS:
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except (RuntimeError, SafetensorError, UnpicklingError, KeyError, EOFError) as error:
        raise ValueError(f"{file} is damaged: {str(error).splitlines()[0]}") from error
    prefix = "network."
    return {key.removeprefix(prefix): state[key] for key in state if key.startswith(prefix)}


def load_weights(network: nn.Module, weights: dict[str, Tensor], run_dir: Path) -> None:
    """Loads a run's weights into a network built from its configuration.

    Raises:
        ValueError: if they do not fit.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        detail = str(error).splitlines()[1].strip()
        raise ValueError(f"{run_dir}: the weights do not fit {SETTINGS}: {detail}") from error


def load_network(run_dir: Path) -> tuple[nn.Module, DataSpec]:
    """Loads a run's trained network on the CPU, in evaluation mode, without reading any data set.

    Raises:
        FileNotFoundError, ValueError: as `read_settings` and `read_weights`.
    """
    cfg, spec, weights = read_settings(run_dir), read_spec(run_dir), read_weights(run_dir)
    network: nn.Module = instantiate(cfg.model, **spec.shapes)
    load_weights(network, weights, run_dir)
    return network.to(next(iter(weights.values())).dtype).eval(), spec


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)
