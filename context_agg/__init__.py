"""The dilated context module of Yu and Koltun (ICLR 2016), with a hand-written backward pass."""

from context_agg.networks.context import (
    ContextModule,
    DilatedConv2d,
    identity_init_,
    receptive_field,
)

__all__ = ["ContextModule", "DilatedConv2d", "identity_init_", "receptive_field"]
