"""Checks the command line before a run: unknown keys, wrong values, read-only folders."""

import argparse
import inspect
import re
import tempfile
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, OverrideParseException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from context_agg.cli.compose import COMMAND, CONF, compose_config
from context_agg.cli.sweeps import alternatives, file_params

ALL_KEYS = "`python -m context_agg.train --cfg job` prints all keys"
ONE_RULE = "check takes one rule at a time: backprop=NAME, or backprop=all for a table"
PLACES = ("hydra.run.dir", "hydra.sweep.dir")
SET_BY_US = ("params", "logger", "enable_progress_bar")  # constructor arguments that we pass

Compose = partial[DictConfig]
"""`compose_config` with the command and the user's folder filled in."""


def check_command_line(arguments: Sequence[str], command: str = COMMAND) -> list[DictConfig]:
    """Composes the configuration that the arguments describe, and checks its keys and values.

    A key must be in conf/. `+` adds an argument of a library's class that is not in conf/, such as
    `+trainer.gradient_clip_val=1`, if the class has such an argument. In a sweep, every value of a
    key is checked together with the first values of the other keys.

    Returns:
        The configurations that were checked: in a sweep, one for every value of a key.

    Raises:
        SystemExit: for a mistake, with one message that says what to do. Without a sweep, mistakes
            that Hydra explains well, such as an unknown choice of a group, are left to Hydra.
    """
    flags, rest = _flags().parse_known_args(arguments)
    lines = [argument for argument in rest if "=" in argument and argument[0] != "-"]
    if flags.multirun and command == "check":
        raise SystemExit(ONE_RULE)
    if not lines:
        return []
    composed = partial(compose_config, command=command, config_dir=flags.config_dir, hydra=True)
    taken: dict[str, list[str]] = {}
    swept = flags.multirun
    try:
        taken = alternatives(lines)
        firsts = [values[0] for values in taken.values()]
        first = composed(*firsts)
        swept = swept or first.hydra.mode is RunMode.MULTIRUN
        if swept:
            taken = alternatives([*file_params(first.hydra), *lines])
        configs = []
        for combination in _combinations(taken):
            cfg = first if combination == firsts else composed(*combination)
            configs.append(cfg)
            _check_added(combination, cfg, composed)
            from context_agg.cli.values import check_values  # torch: not for an unknown key

            check_values(cfg)
    except OverrideParseException as error:
        raise SystemExit(
            f"cannot read {error.override}; put a value with a =, a comma or a space in quotes: "
            f"""'{error.override.partition("=")[0]}="..."'"""
        ) from None
    except ConfigCompositionException as error:
        if unknown := re.match(r"Could not override '(.+)'", str(error)):
            key = unknown[1]
            line = taken[key][0]
            others = composed(*(values[0] for other, values in taken.items() if other != key))
            hint = _hint(key, composed)
            if hint == ALL_KEYS and _class_takes(key, others):  # imports the class: the last resort
                hint = f"conf/ does not list it; add it with a plus: +{line}"
            raise SystemExit(f"unknown key {key!r} in {line}: {hint}") from None
        if swept:
            raise SystemExit(str(error)) from None
        return []
    except ValueError as error:
        raise SystemExit(str(error)) from None
    if swept and command == "check":
        raise SystemExit(ONE_RULE)
    for override in OverridesParser.create().parse_overrides(lines):
        if override.key_or_group in PLACES:
            _check_writable(override.key_or_group, str(override.value()))
    return configs


def _flags() -> argparse.ArgumentParser:
    """The flags of Hydra that affect the composed configuration."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    parser.add_argument("--cfg", "-c")  # or -c would be taken for -cd
    return parser


def _combinations(taken: dict[str, list[str]]) -> Iterator[list[str]]:
    """The first values of all keys, then each other value with the first values of other keys."""
    firsts = {key: values[0] for key, values in taken.items()}
    yield list(firsts.values())
    for key, values in taken.items():
        for value in values[1:]:
            yield list((firsts | {key: value}).values())


def _check_added(lines: Sequence[str], cfg: DictConfig, composed: Compose) -> None:
    """Rejects an added key (`+`) that neither conf/ nor the class that receives it has."""
    for override in OverridesParser.create().parse_overrides(list(lines)):
        key = override.key_or_group
        folders = (CONF, Path(composed.keywords["config_dir"] or CONF))
        known = override.is_hydra_override() or any((folder / key).is_dir() for folder in folders)
        added = override.is_add() or override.is_force_add()
        if known or not added or _class_takes(key, cfg):
            continue
        if key not in _keys(composed(*(line for line in lines if line != override.input_line))):
            hint = _hint(key, composed)
            raise SystemExit(f"unknown key {key!r} in +{key}: nothing reads it; {hint}")


def _class_takes(key: str, cfg: DictConfig) -> bool:
    """Whether a library's class takes it; what ours take is in conf/ already."""
    group, _, name = key.rpartition(".")
    target = OmegaConf.select(cfg, f"{group}._target_") if group else None
    if not target or target.startswith("context_agg."):
        return False
    return name in inspect.signature(get_object(target)).parameters and name not in SET_BY_US


def _keys(cfg: DictConfig) -> list[str]:
    return [key for key in _walk(OmegaConf.to_container(cfg)) if not key.startswith("hydra.")]


def _walk(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items() if isinstance(node, dict) else ():
        yield f"{prefix}{name}"
        yield from _walk(value, f"{prefix}{name}.")


def _hint(key: str, composed: Compose) -> str:
    """Says where the key belongs, or else which known key is most like it."""
    group = CONF / key.partition(".")[0]
    choices = sorted(file.stem for file in group.glob("*.yaml"))
    choices = [f"{group.name}={choice}" for choice in choices]
    if owners := [choice for choice in choices if key in _keys(composed(choice))]:
        return f"it belongs to {' '.join(owners)}"
    known = [other for other in _keys(composed()) if not other.endswith("_target_")]
    last_words = {other.rpartition(".")[2]: other for other in reversed(known)}
    nearest = get_close_matches(key, known, 1) or [
        last_words[word] for word in get_close_matches(key.rpartition(".")[2], last_words, 1)
    ]
    return f"did you mean {nearest[0]!r}? {ALL_KEYS}" if nearest else ALL_KEYS


def _check_writable(key: str, folder: str) -> None:
    path = Path(folder)
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise SystemExit(f"{key}={folder}: cannot write to {existing} ({error.strerror})") from None
