"""Checks the command line before a run: unknown keys, wrong values, read-only folders."""

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from context_agg.cli import ranks
from context_agg.cli.arguments import parse_arguments
from context_agg.cli.compose import COMMAND, CONF, compose_config, composed_once
from context_agg.cli.groups import choices, groups, unknown_choice
from context_agg.cli.hints import composed_keys, hint, keys
from context_agg.cli.places import check_writable
from context_agg.cli.replaced import check_replaced
from context_agg.cli.sweeps import alternatives, file_params

ONE_RULE = "check takes one rule at a time: backprop=NAME, or backprop=all for a table"
SET_BY_US = ("params", "logger", "enable_progress_bar")  # constructor arguments that we pass
HYDRA = ("hydra.run.dir", "hydra.sweep.dir", "hydra/launcher")
NEEDED = ("callbacks.best_checkpoint", "callbacks.epoch_report")  # a run reads what these leave

TRAINER_EXTRAS = (
    "accumulate_grad_batches",
    "benchmark",
    "detect_anomaly",
    "gradient_clip_algorithm",
    "gradient_clip_val",
)
"""What + can add to the trainer; a run does not work with the other arguments of Lightning's."""

INSTEAD = {
    "fast_dev_run": "debug=step takes one step of everything",
    "max_steps": "use trainer.max_epochs or trainer.limit_train_batches",
    "max_time": "use trainer.max_epochs",
    "overfit_batches": "debug=overfit trains on one batch",
    "profiler": "debug=profile profiles a few steps",
    "default_root_dir": "hydra.run.dir=DIR names the folder of a run",
    "callbacks": "callbacks have a group of their own: callbacks=NAME",
}
"""The project's own way to what some of these do."""

Compose = partial[DictConfig]
"""`compose_config` with the command and the user's folder filled in."""


def check_command_line(arguments: Sequence[str], command: str = COMMAND) -> list[DictConfig]:
    """Composes the configuration that the arguments describe, and checks its keys and values.

    A key must be in conf/. `+` adds an argument of a library's class that is not in conf/, such as
    `+trainer.gradient_clip_val=1`, if the class has such an argument; a file of the user's own can
    do so too. In a sweep, every value of a key is checked together with the first values of the
    other keys.

    Returns:
        The configurations that were checked: in a sweep, one for every value of a key.

    Raises:
        SystemExit: for a mistake, with one message that says what to do.
    """
    given = parse_arguments(arguments, command)
    if given.version or (given.help and not given.overrides):
        return []
    if given.multirun and command == "check":
        raise SystemExit(ONE_RULE)
    composed = partial(compose_config, command=command, config_dir=given.config_dir, hydra=True)
    swept = given.multirun
    taken: dict[str, list[str]] = {}
    try:
        taken = alternatives(given.overrides)
        _check_groups([line for lines in taken.values() for line in lines], command)
        _check_hydra(given.overrides)
        firsts = [values[0] for values in taken.values()]
        first = composed(*firsts)
        swept = swept or first.hydra.mode is RunMode.MULTIRUN
        if swept:
            taken = alternatives([*file_params(first.hydra), *given.overrides])
        configs = []
        for combination in _combinations(taken):
            cfg = first if combination == firsts else composed(*combination)
            configs.append(cfg)
            _check_keys(combination, cfg, composed)
            from context_agg.cli.values import check_device, check_values  # torch: not earlier

            check_values(cfg)
            check_device(cfg)
    except MissingConfigException as error:
        raise SystemExit(unknown_choice(error, _folders(composed))) from None
    except ConfigCompositionException as error:
        raise SystemExit(_not_composed(error, taken, composed)) from None
    except yaml.YAMLError as error:
        raise SystemExit(f"cannot read a file of the configuration: {error}") from None
    except OmegaConfBaseException as error:
        raise SystemExit(f"{error.full_key}: {str(error).partition(chr(10))[0]}") from None
    except (ValueError, HydraException) as error:
        raise SystemExit(str(error)) from None
    if swept and command == "check":
        raise SystemExit(ONE_RULE)
    if not swept:
        _check_single(given.overrides)
    if given.help or given.cfg or given.info:
        return configs
    if command == COMMAND:
        _check_processes(configs, swept)
    place = "hydra.sweep.dir" if swept else "hydra.run.dir"
    if command == COMMAND or place in taken:  # check by itself writes nothing
        check_writable(place, str(OmegaConf.select(first, place)))
    return configs


def _check_processes(configs: Sequence[DictConfig], swept: bool) -> None:
    """Rejects what does not go with the number of processes that have been started."""
    for cfg in configs:
        try:
            ranks.check(cfg, swept=swept)
        except ValueError as error:
            raise SystemExit(str(error)) from None


def _combinations(taken: dict[str, list[str]]) -> Iterator[list[str]]:
    """The first values of all keys, then each other value with the first values of other keys."""
    firsts = {key: values[0] for key, values in taken.items()}
    yield list(firsts.values())
    for key, values in taken.items():
        for value in values[1:]:
            yield list((firsts | {key: value}).values())


def _folders(composed: Compose) -> list[Path]:
    """conf/, and the folder of the user's own."""
    own = composed.keywords["config_dir"]
    return [CONF, Path(own)] if own else [CONF]


def _check_groups(lines: Sequence[str], command: str) -> None:
    """Rejects null for a group, which Hydra does not take from the command line."""
    for override in OverridesParser.create().parse_overrides(list(lines)):
        group = override.key_or_group
        if group not in groups() or override.is_delete():
            continue
        value = override.value()
        if isinstance(value, dict) or (
            isinstance(value, list) and not all(isinstance(name, str) for name in value)
        ):
            names = ", ".join(choices(group))
            raise SystemExit(f"{override.input_line}: the choices of {group} are {names}")
        if value is None:
            optional = group not in composed_keys(command)
            none = f"to have none, leave it out, or take it away with ~{group}; " * optional
            raise SystemExit(f"{group}=null: {none}the choices are {', '.join(choices(group))}")


def _check_hydra(lines: Sequence[str]) -> None:
    """Rejects settings of Hydra's own that do not work with a run or a sweep."""
    for override in OverridesParser.create().parse_overrides(list(lines)):
        key = override.key_or_group
        if key.partition(".")[0].partition("/")[0] != "hydra":
            continue
        known = key in HYDRA or key.startswith("hydra.launcher.")
        if not known or override.is_delete() or override.is_sweep_override():
            raise SystemExit(
                f"{override.input_line}: of Hydra's own settings only {', '.join(HYDRA)} and "
                "hydra.launcher.KEY can be set, to one value each"
            )


def _check_single(lines: Sequence[str]) -> None:
    """Rejects values to sweep over where there is no sweep."""
    for override in OverridesParser.create().parse_overrides(list(lines)):
        if override.is_sweep_override():
            line = str(override.input_line)
            key, _, value = line.partition("=")
            raise SystemExit(
                f"{line} names values to sweep over: put -m before all arguments; "
                f"""a list is {key}=[A,B], and a text with a comma has quotes: "{key}='{value}'\""""
            )


def _check_keys(lines: Sequence[str], cfg: DictConfig, composed: Compose) -> None:
    """Rejects keys that nothing reads, and a configuration that lacks what every run needs."""
    command: str = composed.keywords["command"]
    plain = _plain(lines, cfg, command)
    present, known = keys(cfg), keys(plain)
    for key in composed_keys(command):
        if key not in present and ("." not in key or _is_needed(key)):
            choose = f"choose one with {key}=NAME: {', '.join(choices(key))}; or " * (
                key in groups()
            )
            raise SystemExit(f"{key} is missing, which every run needs; {choose}leave out ~{key}")
    for key in known:
        _check_part(key, cfg, plain)
    check_replaced(cfg, plain)
    for key in present:
        if key.endswith("._target_") and not isinstance(OmegaConf.select(cfg, key), str):
            raise SystemExit(f"{key}={OmegaConf.select(cfg, key)} must name a class or function")
        if key not in known and not _is_read(key, cfg, plain):
            read = [other for other in present if other in known or _is_read(other, cfg, plain)]
            raise SystemExit(_unknown(key, read, lines, composed))


def _check_part(key: str, cfg: DictConfig, plain: DictConfig) -> None:
    """Rejects a value in place of settings, and settings whose constructor is gone."""
    owner, _, name = key.rpartition(".")
    there, missing = OmegaConf.select(cfg, owner) if owner else cfg, object()
    if not isinstance(there, DictConfig):
        return  # left out as a whole, or already rejected
    value = OmegaConf.select(cfg, key, default=missing, throw_on_missing=False)
    if name == "_target_" and name not in there:
        raise SystemExit(f"{key} is missing: it names what {owner} is; leave out ~{key}")
    settings = isinstance(OmegaConf.select(plain, key), DictConfig)
    given = name in there and not OmegaConf.is_interpolation(there, name)
    if settings and given and not isinstance(value, DictConfig):
        away = f"; to do without, ~{key}" * (owner == "callbacks")
        raise SystemExit(f"{key}={value}: {key} is a group of settings, not a value{away}")


def _plain(lines: Sequence[str], cfg: DictConfig, command: str) -> DictConfig:
    """The configuration of the same choices in conf/ without any other setting."""
    chosen = {group: [name] for group, name in cfg.hydra.runtime.choices.items() if name}
    for override in OverridesParser.create().parse_overrides(list(lines)):
        group = override.key_or_group
        if group in groups() and isinstance(names := override.value(), list):
            if OmegaConf.select(cfg, f"{group}._target_"):
                raise SystemExit(f"{override.input_line}: choose one {group}, not a list")
            chosen[group] = names
    ours = {
        group: [name for name in names if name in choices(group)]
        for group, names in chosen.items()
        if group in groups()
    }
    return composed_once(
        *(f"{group}=[{','.join(names)}]" for group, names in ours.items() if names), command=command
    )


def _is_needed(key: str) -> bool:
    return key in NEEDED or key.startswith("trainer.")


def _is_read(key: str, cfg: DictConfig, plain: DictConfig) -> bool:
    """Whether something reads a key that conf/ does not have."""
    node = OmegaConf.select(cfg, key)
    if key.startswith("callbacks.") and isinstance(node, DictConfig) and "_target_" in node:
        return True
    words = key.split(".")
    for end in range(len(words) - 1, 0, -1):
        owner = ".".join(words[:end])
        part = OmegaConf.select(cfg, owner)
        if isinstance(part, DictConfig) and (target := part.get("_target_")):
            own = target != OmegaConf.select(plain, f"{owner}._target_")
            return own or _takes(owner, target, words[end])
    return False


def _takes(group: str, target: str, name: str) -> bool:
    """Whether a library's class takes an argument; what ours take is in conf/ already."""
    if group == "trainer":
        return name in TRAINER_EXTRAS
    if target.startswith("context_agg."):
        return False
    return name in inspect.signature(get_object(target)).parameters and name not in SET_BY_US


def _unknown(key: str, read: Sequence[str], lines: Sequence[str], composed: Compose) -> str:
    """What to say of a key that was added with +, or stands in a file of the user's own."""
    added = [line.lstrip("+").partition("=")[0] for line in lines if line.startswith("+")]
    where = [f"+{other}" for other in added if f"{other}.".startswith(f"{key}.")]
    place = where[0] if where else f"the files of {composed.keywords['config_dir']}"
    group, _, name = key.partition(".")
    advice = hint(key, read, composed.keywords["command"])
    if group == "experiment":
        advice = "the first line of the experiment's file must be: # @package _global_"
    if group == "trainer":
        extras = ", ".join(TRAINER_EXTRAS)
        advice = f"{INSTEAD.get(name, advice)}; what + can add to the trainer is {extras}"
    return f"unknown key {key!r} in {place}: nothing reads it; {advice}"


def _not_composed(
    error: ConfigCompositionException, taken: dict[str, list[str]], composed: Compose
) -> str:
    """What to say of a key that cannot be overridden, or of another mistake that Hydra found."""
    if twice := re.search(r"An item is already at '(.+?)'", str(error)):
        return f"{twice[1]} is in conf/ already: leave out the +"
    unknown = re.search(r"Could not override '(.+?)'", str(error))
    if not unknown:
        cause = str(error.__cause__ or "").partition("\n")[0]
        message = " ".join(str(error).split())
        return f"{message}: {cause}" if cause and cause not in message else message
    key, command = unknown[1], composed.keywords["command"]
    others: DictConfig | None = None
    with suppress(HydraException):  # another line is wrong too
        others = composed(*(values[0] for other, values in taken.items() if other != key))
    advice = hint(key, keys(others) if others else composed_keys(command), command)
    if key not in taken:
        return f"unknown key {key!r} in a file of the configuration: {advice}"
    line = taken[key][0]
    group, _, name = key.rpartition(".")
    target = OmegaConf.select(others, f"{group}._target_") if others and group else None
    if group == "trainer" and name in INSTEAD:
        advice = INSTEAD[name]
    elif target and advice.startswith("`") and _takes(group, target, name):  # imports the class
        advice = f"conf/ does not list it; add it with a plus: +{line}"
    return f"unknown key {key!r} in {line}: {advice}"
