"""What a sweep varies, according to the command line or to hydra.sweeper.params of a file."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from context_agg.cli.no_result import NO_RESULT

MOST = 1000  # values of a key; every one of them is checked before the first run
FORMS = "the values to sweep over are listed, KEY=A,B, or counted, KEY=range(3)"


def alternatives(lines: Iterable[str]) -> dict[str, list[str]]:
    """The overrides of each key, one per value: several for a key that the sweep varies.

    If several lines name the same key, the last one counts, as it does for Hydra.

    Raises:
        OverrideParseException: for a line that is not an override.
        ValueError: for a sweep whose values cannot be listed.
    """
    overrides = OverridesParser.create().parse_overrides(list(lines))
    return {override.key_or_group: _values(override) for override in overrides}


def file_params(hydra: DictConfig) -> list[str]:
    """The overrides that the configuration itself sweeps over (hydra.sweeper.params)."""
    return [f"{key}={values}" for key, values in (hydra.sweeper.params or {}).items()]


def settings_of(cfg: DictConfig, choices: Mapping[str, str], given: list[str]) -> dict[str, Any]:
    """What the HPARAMS tab tells a run by: model, backprop, seed, and what was set or swept over.

    Args:
        cfg: the configuration of the run.
        choices: the choice of each group.
        given: the overrides of the run.
    """
    keys = dict.fromkeys(["model", "backprop", "seed", *alternatives(given)])
    return {
        key: choices.get(key, OmegaConf.select(cfg, key)) for key in keys if key not in NO_RESULT
    }


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    value = override.value()
    if not isinstance(value, ChoiceSweep | RangeSweep) or value.shuffle:
        raise ValueError(f"{override.input_line}: {FORMS}")
    element = override.get_key_element()
    values = [f"{element}={value}" for value in islice(override.sweep_string_iterator(), MOST + 1)]
    if not 0 < len(values) <= MOST:
        count = f"more than {MOST:,}" if values else "no"
        raise ValueError(f"{override.input_line} gives {count} values; {FORMS}")
    return values
