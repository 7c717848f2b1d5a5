"""The dilated context module of Yu and Koltun (ICLR 2016), with a hand-written backward pass."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from context_agg.networks.context import (
        ContextModule,
        DilatedConv2d,
        identity_init_,
        receptive_field,
    )

__all__ = ["ContextModule", "DilatedConv2d", "identity_init_", "receptive_field"]


def __getattr__(name: str) -> Any:
    """Imports torch only when a name is used, so that a command without torch starts at once."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from context_agg.networks import context

    return getattr(context, name)
