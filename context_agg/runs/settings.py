"""Reads the configuration of a run. It can come from anybody, and building from it runs code."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import yaml
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from context_agg.cli.compose import CONF
from context_agg.cli.monitors import MODES
from context_agg.cli.places import check_folder
from context_agg.runs.directory import SETTINGS
from context_agg.runs.reading import WAY_OUT, read_text, short
from context_agg.runs.records import check_format

MOST_DEPTH = 20  # of lists and groups in each other
MOST_INTERPOLATIONS = 20  # each can repeat what another has repeated

NEEDED: Mapping[str, type] = {
    "seed": int,
    "backprop": str,
    "frozen": list,
    "compile": bool,
    "determinism": str,
    "checkpoint": dict,
    "model": dict,
    "data": dict,
    "optimizer": dict,
    "loss": dict,
    "trainer": dict,
    "trainer.accelerator": str,
    "trainer.max_epochs": int,
    "trainer.precision": str,
    "callbacks": dict,
    "callbacks.best_checkpoint": dict,
    "callbacks.epoch_report": dict,
}
"""What every configuration has; a run of an earlier version may lack other keys."""

KINDS = {
    int: "a whole number",
    bool: "true or false",
    str: "a word",
    list: "a list",
    dict: "a group of settings",
}


def read_settings(run_dir: Path) -> DictConfig:
    """Reads the configuration of a run, to build from it; it holds no interpolations.

    Raises:
        FileNotFoundError: if this is not the directory of a run.
        OSError, ValueError: as `read_resolved`; if the configuration lacks a key, has a wrong
            value, or names a `_target_` that no file of conf/ names for the same key.
    """
    # imports torch, which a report of the same files does without
    from context_agg.cli.values import check_settings

    settings = read_resolved(run_dir)
    try:
        _check_keys(settings)
        for key, slot, node in _nodes(settings):
            _check_node(key, slot, node)
        resolved = OmegaConf.create(settings)
        check_settings(resolved)
    except (ValueError, TypeError, OmegaConfBaseException) as error:
        raise ValueError(f"{run_dir / SETTINGS}: {short(error)}; {WAY_OUT}") from error
    return resolved


def read_resolved(run_dir: Path) -> dict[Any, Any]:
    """Reads the configuration of a run, to compare it; nothing must be built from it.

    Raises:
        FileNotFoundError: if this is not the directory of a run.
        OSError, ValueError: if it is a file, has another format, or its configuration cannot be
            read.
    """
    check_folder(run_dir)
    if not os.path.lexists(run_dir / SETTINGS):
        raise FileNotFoundError(f"{run_dir} is not the directory of a run: no {SETTINGS} in it")
    check_format(run_dir)
    cfg = read_unresolved(run_dir)
    try:  # an interpolation can produce a `_target_`
        settings = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except Exception as error:  # whatever a resolver raises
        raise ValueError(f"cannot read {run_dir / SETTINGS}: {short(error)}; {WAY_OUT}") from error
    assert isinstance(settings, dict)
    return settings


def read_unresolved(run_dir: Path) -> DictConfig:
    """Reads the configuration of a run as it was written; nothing in it is checked.

    A mode of the best epoch, which earlier versions wrote, is left out where it follows from the
    monitor.

    Raises:
        OSError, ValueError: if it cannot be read, or would take long to read.
    """
    file = run_dir / SETTINGS
    text = read_text(file)
    try:
        _check_yaml(text)
        cfg = OmegaConf.load(io.StringIO(text))
        _leave_out_mode(cfg)
    except Exception as error:  # whatever a file can contain
        raise ValueError(f"cannot read {file}: {short(error)}; {WAY_OUT}") from error
    if not isinstance(cfg, DictConfig):
        raise ValueError(f"{file} is not a configuration; {WAY_OUT}")
    return cfg


@contextmanager
def built_from(run_dir: Path) -> Iterator[None]:
    """Turns an error of a constructor that a run's configuration names into one with its file.

    Raises:
        ValueError: in its place.
    """
    try:
        yield
    except InstantiationException as error:
        cause = error.__cause__ or error
        *_, part = str(error).splitlines()  # "full_key: model"
        name = part.removeprefix("full_key: ")
        raise ValueError(f"{run_dir / SETTINGS}: {name}: {short(cause)}") from error


def _leave_out_mode(cfg: Any) -> None:
    """Takes the mode of the best epoch away where it follows from the monitor."""
    callbacks = cfg.get("callbacks") if isinstance(cfg, DictConfig) else None
    best = callbacks.get("best_checkpoint") if isinstance(callbacks, DictConfig) else None
    if isinstance(best, DictConfig) and best.get("mode") == MODES.get(best.get("monitor"), "max"):
        del best["mode"]


def _check_yaml(text: str) -> None:
    """Rejects what a few bytes can make endless."""
    if text.count("${") > MOST_INTERPOLATIONS:
        raise ValueError(f"it has more than {MOST_INTERPOLATIONS} interpolations")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"it repeats a part of itself (*{event.anchor}), as no run does")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested more than {MOST_DEPTH} deep")


def _check_keys(settings: dict[Any, Any]) -> None:
    for key, kind in NEEDED.items():
        node: Any = settings
        for name in key.split("."):
            if not isinstance(node, dict) or name not in node:
                raise ValueError(f"it has no {key}")
            node = node[name]
        if type(node) is not kind:
            raise ValueError(f"{key}={brief(node)} must be {KINDS[kind]}")


def _check_node(key: str, slot: str, node: Any) -> None:
    """Rejects what cannot stand under a key: its `_target_` must be one of conf/ for that key."""
    allowed = _targets().get(slot, set())
    if not isinstance(node, dict):
        if slot in _targets() and node is not None:
            raise ValueError(f"{key}={brief(node)} must be a group of settings")
        return
    if allowed and "_target_" not in node:
        raise ValueError(f"{key} has no _target_")
    target = str(node.get("_target_"))
    if "_target_" in node and target not in allowed:
        raise ValueError(
            f"it names {target} for {key}, which no file of conf/ does; it could run any code"
        )
    for name in node:
        special = str(name).startswith("_") and name not in ("_target_", "_partial_")
        partial = name == "_partial_" and not (slot in _partials() and node[name] is True)
        if special or partial:
            raise ValueError(f"{key}.{name} is not a setting of {target}")


@cache
def _targets() -> dict[str, set[str]]:
    """The `_target_`s that the files of conf/ name, by what they stand for."""
    found: dict[str, set[str]] = {}
    for slot, node in _conf_nodes():
        found.setdefault(slot, set()).add(node["_target_"])
    return found


@cache
def _partials() -> set[str]:
    """What conf/ builds with `_partial_`."""
    return {slot for slot, node in _conf_nodes() if node.get("_partial_")}


def _conf_nodes() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in CONF.rglob("*.yaml"):
        content = yaml.safe_load(file.read_text())
        group, *rest = file.relative_to(CONF).parts
        for _, slot, node in _nodes({group: content} if rest else content):
            if isinstance(node, dict) and "_target_" in node:
                yield slot, node


def _nodes(node: Any, key: str = "", slot: str = "") -> Iterator[tuple[str, str, Any]]:
    """Everything in a configuration: its key, what it stands for, and the node.

    What a node stands for is the last word of its key; for every callback it is the same.
    """
    if isinstance(node, dict):
        for name, child in node.items():
            if not (key == "" and name == "hydra"):  # Hydra's own
                inner = f"{key}.{name}" if key else str(name)
                inner_slot = "a callback" if slot == "callbacks" else str(name)
                yield inner, inner_slot, child
                yield from _nodes(child, inner, inner_slot)
    elif isinstance(node, list):
        for number, child in enumerate(node):
            yield f"{key}[{number}]", "", child
            yield from _nodes(child, f"{key}[{number}]", "")
