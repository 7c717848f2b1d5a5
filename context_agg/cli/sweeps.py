"""What a sweep varies, according to the command line or to hydra.sweeper.params of a file."""

from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig


def alternatives(lines: Iterable[str]) -> dict[str, list[str]]:
    """The overrides of each key, one per value: several for a key that the sweep varies.

    If several lines name the same key, the last one counts, as it does for Hydra.

    Raises:
        OverrideParseException: for a line that is not an override.
    """
    overrides = OverridesParser.create().parse_overrides(list(lines))
    return {override.key_or_group: _values(override) for override in overrides}


def file_params(hydra: DictConfig) -> list[str]:
    """The overrides that the configuration itself sweeps over (hydra.sweeper.params)."""
    return [f"{key}={values}" for key, values in (hydra.sweeper.params or {}).items()]


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    element = override.get_key_element()
    return [f"{element}={value}" for value in override.sweep_string_iterator()]
