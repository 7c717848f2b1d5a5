"""What a sweep varies, whether the command line says it or hydra.sweeper.params of a file."""

from collections.abc import Iterable

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig


def alternatives(lines: Iterable[str]) -> dict[str, list[str]]:
    """By key, the overrides of its values: several where the key is swept over.

    The last line that names a key counts, as it does for Hydra.

    Raises:
        OverrideParseException: for a line that is no override.
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
