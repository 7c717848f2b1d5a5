"""Reads what a search is over from a file: values and ranges of keys, and the fixed settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from context_agg.cli.monitors import MODES
from context_agg.cli.sweeps import alternatives

MONITOR = "callbacks.best_checkpoint.monitor"
PARTS = ("monitor", "settings", "space")
FORM = (
    "the values of a key are listed, [A, B], or have a range, {low: A, high: B}, with log: true or "
    "step: S if need be"
)


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included; whole ones if both of them are.

    Args:
        low: the smallest.
        high: the largest.
        log: whether the search is even in the logarithm of the number.
        step: the distance between two values; None: any value, or any whole one.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None


@dataclass(frozen=True)
class Space:
    """What a search tries.

    Args:
        monitor: the scalar that is to be largest or smallest, one of `monitors.MODES`.
        settings: the overrides of every trial, as on the command line of `train`.
        keys: for every key that the search varies, a range, or its values as on the command line.
    """

    monitor: str
    settings: Sequence[str]
    keys: Mapping[str, Range | Sequence[str]]

    @property
    def mode(self) -> str:
        """Whether the largest or the smallest value of the scalar is best: "max" or "min"."""
        return MODES[self.monitor]

    def corners(self) -> list[str]:
        """A sweep over all listed values and both ends of every range, to be checked."""
        ends = {
            key: [text(values.low), text(values.high)] if isinstance(values, Range) else values
            for key, values in self.keys.items()
        }
        return [*self.settings, *(f"{key}={','.join(values)}" for key, values in ends.items())]


def read_space(file: Path, overrides: Sequence[str] = ()) -> Space:
    """Reads a file with a `monitor`, the `settings` of every trial, and the `space`.

    Args:
        file: the YAML file.
        overrides: more settings, as on the command line; they come before those of the file.

    Raises:
        OSError, ValueError: if it cannot be read, or holds anything else, naming it.
    """
    try:
        content = OmegaConf.load(file)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"cannot read {file}: {' '.join(str(error).split())}") from None
    parts = OmegaConf.to_container(content) if isinstance(content, DictConfig) else {}
    if not isinstance(parts, dict) or not {"monitor", "space"} <= parts.keys() <= set(PARTS):
        raise ValueError(f"{file} must hold monitor, space and, if need be, settings: nothing else")
    monitor, settings, space = (parts.get(part) for part in PARTS)
    if monitor not in MODES:
        raise ValueError(f"{file}: monitor={monitor} must be one of {', '.join(MODES)}")
    for name, part in (("settings", settings or {}), ("space", space)):
        if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
            raise ValueError(f"{file}: {name} must hold keys and their values")
    if not space:
        raise ValueError(f"{file}: space is empty; {FORM}")
    keys = {}
    for key, values in space.items():
        try:
            keys[key] = _values(values)
        except ValueError as error:
            raise ValueError(f"{file}: {key}: {text(values)}: {error}") from None
    lines = [f"{key}={text(value)}" for key, value in (settings or {}).items()]
    fixed = _fixed([*lines, *overrides], keys)
    return Space(monitor, [*fixed, f"{MONITOR}={monitor}"], keys)


def text(value: Any) -> str:
    """A value as it is written on the command line: in quotes if it needs them."""
    if isinstance(value, list):
        return f"[{','.join(map(text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{text(item)}' for key, item in value.items())}}}"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    try:
        if OverridesParser.create().parse_override(f"key={value}").value() == value:
            return value
    except HydraException:
        pass
    quoted = value.replace("'", r"\'")
    return f"'{quoted}'"


def _values(values: Any) -> Range | list[str]:
    """The values of a key that the file describes.

    Raises:
        ValueError: saying what they must be.
    """
    if isinstance(values, list):
        listed = [text(value) for value in values]
        if not 0 < len(set(listed)) == len(listed):
            raise ValueError("a list has one value or more, all different")
        return listed
    if not isinstance(values, dict) or not {"low", "high"} <= values.keys():
        raise ValueError(FORM)
    if others := values.keys() - {"low", "high", "log", "step"}:
        raise ValueError(f"a range has no {min(others)}; {FORM}")
    numbers = [values["low"], values["high"], values.get("step", 1)]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        raise ValueError("low, high and step are numbers")
    low, high, step = numbers
    log = values.get("log", False)
    if not isinstance(log, bool):
        raise ValueError("log is true or false")
    if low >= high:
        raise ValueError("low must be below high")
    if log and ("step" in values or low <= 0):
        raise ValueError("with log: true, low must be above 0, and there is no step")
    if "step" in values and not 0 < step <= high - low:
        raise ValueError("step must be above 0, and fit between low and high")
    if type(low) is type(high) is int and type(step) is not int:
        raise ValueError("the step between whole numbers is a whole number")
    if type(low) is not type(high):
        low, high = float(low), float(high)
    return Range(low, high, log, values.get("step"))


def _fixed(lines: Sequence[str], keys: Mapping[str, Any]) -> list[str]:
    """The settings of every trial; of two lines for a key the last one counts.

    Raises:
        ValueError: for a line that does not work in a search.
    """
    given = alternatives(lines)
    searched = {key.lstrip("+") for key in keys}
    for key in (*given, *searched):
        if key.partition(".")[0].partition("/")[0] == "hydra":
            raise ValueError(f"{key}: Hydra's own settings have no place in a search")
        if key == MONITOR:
            raise ValueError(f"{key}: it is set by the monitor of the search; leave it out")
    for key, values in given.items():
        if len(values) > 1:
            raise ValueError(f"{key}: its values belong in the space: {key}: [A, B]")
        if values[0].startswith("~"):
            raise ValueError(f"{values[0]}: a search can set a key, but not take it away")
        if key in searched:
            raise ValueError(
                f"{values[0]}: the search varies {key}; leave it out of one of the two"
            )
    return [values[0] for values in given.values()]
