"""The dilated context module of Yu and Koltun (ICLR 2016), with a hand-written backward pass."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from context_agg import ops as ops
    from context_agg.networks.context import (
        ContextModule,
        DilatedConv2d,
        identity_init_,
        receptive_field,
    )

__all__ = ["ContextModule", "DilatedConv2d", "identity_init_", "ops", "receptive_field"]


def __getattr__(name: str) -> Any:
    """Imports torch only when a name is needed, so a command that needs none starts at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "ops":
        return import_module("context_agg.ops")
    return getattr(import_module("context_agg.networks.context"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
