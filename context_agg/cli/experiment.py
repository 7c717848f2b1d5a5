"""Writes settings as the file of an experiment, for `--config-dir`."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf, open_dict

from context_agg.cli.compose import compose_config
from context_agg.cli.groups import groups

UNWRAPPED = ("experiment", "debug")  # groups that only set the keys of others


def experiment(title: str, lines: Sequence[str]) -> str:
    """The file of an experiment that composes what these overrides compose.

    It names the choice of every group that is not the default, and the values that differ from
    those of these choices.
    """
    cfg, default = compose_config(*lines, hydra=True), compose_config(hydra=True)
    chosen = {
        group: choice
        for group, choice in cfg.hydra.runtime.choices.items()
        if group in groups()
        and group not in UNWRAPPED
        and choice != default.hydra.runtime.choices.get(group)
    }
    plain = compose_config(*(f"{group}={choice}" for group, choice in chosen.items()))
    with open_dict(cfg):
        del cfg["hydra"]
    text = f"# @package _global_\n# {title}\n"
    if chosen:
        defaults = [{f"override /{group}": choice} for group, choice in chosen.items()]
        text += OmegaConf.to_yaml(OmegaConf.create({"defaults": defaults}))
    values = _differences(OmegaConf.to_container(cfg), OmegaConf.to_container(plain))
    return text + (OmegaConf.to_yaml(OmegaConf.create(values)) if values else "")


def _differences(node: Any, plain: Any) -> dict[str, Any]:
    """The part of a tree that the other does not have."""
    absent = object()
    found = {}
    for key, value in node.items():
        other = plain.get(key, absent)
        if isinstance(value, dict) and isinstance(other, dict):
            value = _differences(value, other)
            if value:
                found[key] = value
        elif value != other or type(value) is not type(other):
            found[key] = value
    return found
