"""Makes a part of a run from its settings, and sees that it is what its place asks for."""

from typing import Any, TypeVar

from hydra.utils import instantiate
from omegaconf import DictConfig

T = TypeVar("T")


def make(kind: type[T], key: str, cfg: DictConfig, *operands: Any, **options: Any) -> T:
    """Builds what `cfg` names.

    Args:
        kind: what it has to be.
        key: where `cfg` stands in the configuration.
        cfg: its settings, with a `_target_`.
        operands: arguments of the target.
        options: more arguments of the target.

    Raises:
        ValueError: if the target gives something else.
        InstantiationException: if the target rejects a value.
    """
    part = instantiate(cfg, *operands, **options)
    if not isinstance(part, kind):
        name = type(part).__name__
        raise ValueError(f"{key}: {cfg.get('_target_')} gives {name}, not {kind.__name__}")
    return part
