"""Finds the key that was meant: the nearest one, or the group that an unknown key belongs to."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf

from context_agg.cli.compose import composed_once
from context_agg.cli.groups import choices, groups


def keys(cfg: DictConfig) -> list[str]:
    """All keys of a configuration, without Hydra's own: `model` before `model.channels`."""
    return [key for key in _walk(OmegaConf.to_container(cfg)) if key.split(".")[0] != "hydra"]


@cache
def composed_keys(command: str, *overrides: str) -> list[str]:
    """All keys of the configuration that a command has with these overrides."""
    return keys(composed_once(*overrides, command=command))


def hint(key: str, known: Sequence[str], command: str) -> str:
    """Says where an unknown key belongs, or else which known key is most like it."""
    root = key.partition(".")[0]
    if root in groups():
        options = [f"{root}={choice}" for choice in choices(root)]
        if owners := [option for option in options if key in composed_keys(command, option)]:
            return f"it belongs to {' '.join(owners)}"
    everything = f"`python -m context_agg.{command} --cfg job` prints all keys"
    nearest = nearest_key(key, known)
    return f"did you mean {nearest!r}? {everything}" if nearest else everything


def nearest_key(key: str, known: Sequence[str]) -> str | None:
    """The known key that is most like this one, in full or in its last word."""
    known = [other for other in known if not other.endswith("_target_")]
    if matches := get_close_matches(key, known, 1):
        return matches[0]
    last_words = {other.rpartition(".")[2]: other for other in reversed(known)}
    words = get_close_matches(key.rpartition(".")[2], last_words, 1)
    return last_words[words[0]] if words else None


def _walk(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{name}"
        yield from _walk(value, f"{prefix}{name}.")
