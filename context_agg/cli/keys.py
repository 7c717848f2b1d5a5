"""Checks of the command line before Hydra composes: unknown keys, places that cannot be written."""

import inspect
import re
import tempfile
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from itertools import product
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from context_agg.cli.compose import CONF, CONFIG_NAME
from context_agg.cli.values import check_values

ALL_KEYS = "`python -m context_agg.train --cfg job` prints all keys"
SET_BY_TRAIN = ("params", "logger", "enable_progress_bar")  # constructor arguments


def check_command_line(arguments: Sequence[str], config_name: str = CONFIG_NAME) -> None:
    """Compares the keys that the arguments override with those of the configuration.

    A key is known if it stands in conf/ (with the choices of groups that the arguments make). With
    `+` an argument of a library's class can be added that does not stand there, such as
    `+trainer.gradient_clip_val=1`; the class must know it.

    Raises:
        SystemExit: for an unknown key, with a message that names the nearest one; for an override
            that cannot be read; for a directory that cannot be written; for a value in a sweep
            that no run can have.
    """
    lines = [argument for argument in arguments if "=" in argument and argument[0] != "-"]
    try:
        overrides = OverridesParser.create().parse_overrides(lines)
        configs = list(_compositions([o for o in overrides if _is_group(o)], config_name))
    except OverrideParseException as error:
        raise SystemExit(
            f"cannot read {error.override}; a value that holds = or , or a space goes into quotes: "
            f"""'{error.override.partition("=")[0]}="..."'"""
        ) from None
    except HydraException as error:
        if any(override.is_sweep_override() for override in overrides):
            raise SystemExit(str(error)) from None  # or the first runs would be trained before
        return  # Hydra will say it, with the names of a group's choices
    known = {key for cfg in configs for key in _keys(cfg)} | set(_groups())
    for override in overrides:
        key = re.sub(r"(\.\d+)+$", "", override.key_or_group)  # model.dilations.0 is part of a list
        if key in ("hydra.run.dir", "hydra.sweep.dir"):
            _check_writable(key, str(override.value()))
        if override.is_hydra_override() or override.is_delete() or key in known:
            continue
        if override.is_add() or override.is_force_add():
            _check_added(key, configs, known)
        else:
            raise SystemExit(f"unknown key {key!r} in {override.input_line}: {_hint(key, known)}")
    _check_swept_values(overrides, config_name)


def _check_swept_values(overrides: Sequence[Override], config_name: str) -> None:
    """Checks all values that are swept over, each beside the first of the others."""
    lines = {o.input_line: _lines(o) for o in overrides if not o.is_hydra_override()}
    firsts = {key: values[0] for key, values in lines.items()}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for key, values in lines.items():
            for value in values if len(values) > 1 else ():
                try:
                    check_values(compose(config_name, list((firsts | {key: value}).values())))
                except (HydraException, ValueError) as error:
                    raise SystemExit(str(error)) from None


def _lines(override: Override) -> list[str]:
    """The override, as one or, where it is a sweep, as several."""
    if not override.is_sweep_override():
        return [str(override.input_line)]
    element = override.get_key_element()
    return [f"{element}={value}" for value in override.sweep_string_iterator()]


def _is_group(override: Override) -> bool:
    return override.key_or_group in _groups()


def _groups() -> Iterator[str]:
    return (folder.name for folder in CONF.iterdir() if folder.is_dir())


def _compositions(choices: Sequence[Override], config_name: str) -> Iterator[DictConfig]:
    """The configurations for every combination of the groups' choices that a sweep makes."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for combination in product(*map(_lines, choices)):
            yield compose(config_name, list(combination))


def _keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in map(str, cfg):
        yield f"{prefix}{name}"
        if isinstance(node := cfg._get_node(name), DictConfig) and not node._is_none():
            yield from _keys(node, f"{prefix}{name}.")


def _check_added(key: str, configs: Sequence[DictConfig], known: set[str]) -> None:
    group, _, name = key.rpartition(".")
    for cfg in configs:
        target = OmegaConf.select(cfg, f"{group}._target_") if group else None
        # what our own functions take stands in conf/ already
        if target and not target.startswith("context_agg."):
            taken = inspect.signature(get_object(target)).parameters
            if name in taken and name not in SET_BY_TRAIN:
                return
    raise SystemExit(f"unknown key {key!r} in +{key}: nothing reads it; {_hint(key, known)}")


def _hint(key: str, known: set[str]) -> str:
    """The known key that is most like it, as a whole or, which counts less, in its last word."""

    def likeness(other: str) -> float:
        last_words = SequenceMatcher(None, key.rpartition(".")[2], other.rpartition(".")[2])
        return max(SequenceMatcher(None, key, other).ratio(), 0.85 * last_words.ratio())

    if elsewhere := list(_choices_that_know(key)):
        return f"it belongs to {' '.join(elsewhere)}"
    candidates = sorted(other for other in known if "." in other or "." not in key)
    candidates = [other for other in candidates if not other.endswith("_target_")]
    nearest = max(candidates, key=likeness)
    question = f"did you mean {nearest!r}? " if likeness(nearest) > 0.6 else ""
    return f"{question}{ALL_KEYS}"


def _choices_that_know(key: str) -> Iterator[str]:
    group = key.split(".")[0]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for file in sorted((CONF / group).glob("*.yaml")):
            choice = f"{group}={file.stem}"
            if key in _keys(compose(CONFIG_NAME, [choice])):
                yield choice


def _check_writable(key: str, folder: str) -> None:
    path = Path(folder)
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise SystemExit(f"{key}={folder}: cannot write to {existing} ({error.strerror})") from None
