"""A `_target_` in place of that of a group's choice: the other settings of the choice stay."""

import inspect
import pydoc
from inspect import Parameter

from omegaconf import DictConfig, OmegaConf

from context_agg.cli.groups import choices, groups
from context_agg.cli.hints import keys

TARGET = "._target_"


def check_replaced(cfg: DictConfig, plain: DictConfig) -> None:
    """Rejects settings of a group's choice that the class in its place does not take.

    Args:
        cfg: the configuration, with Hydra's own.
        plain: that of the same choices, without any other setting.

    Raises:
        SystemExit: naming the settings, where they come from, and the way out.
    """
    for key in keys(plain):
        owner = key.removesuffix(TARGET)
        target = OmegaConf.select(cfg, key)
        if owner == key or not isinstance(target, str) or target == OmegaConf.select(plain, key):
            continue
        group = owner.partition(".")[0]
        choice = cfg.hydra.runtime.choices.get(group)
        if group not in groups() or choice not in choices(group):
            continue  # a file of the user's own, whose settings are meant for the class
        part, original = OmegaConf.select(cfg, owner), OmegaConf.select(plain, owner)
        rest = [
            name
            for name in map(str, part)
            if name in original and not name.startswith("_") and not _takes(target, name)
        ]
        if rest:
            away = " ".join(f"~{owner}.{name}" for name in rest)
            raise SystemExit(
                f"{key}={target}: it does not take {', '.join(rest)}, which {group}={choice} has: "
                "the other keys of a choice stay when its class is replaced; write a file for your "
                f"class, {group}/NAME.yaml in conf/ or in the folder of --config-dir, and choose "
                f"it with {group}=NAME, or take away what it lacks: {away}"
            )


def _takes(target: str, name: str) -> bool:
    """Whether a class or function takes an argument; so does what cannot be looked at."""
    try:
        parameters = inspect.signature(pydoc.locate(target)).parameters  # type: ignore[arg-type]
    except (pydoc.ErrorDuringImport, TypeError, ValueError):  # it is told when it is built
        return True
    return name in parameters or any(
        parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters.values()
    )
