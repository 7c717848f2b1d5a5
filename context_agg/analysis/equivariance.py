"""Does the output move with the image? With dilation, yes; with pooling, only by its stride."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from context_agg.networks.context import ContextModule

Network = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) -> maps of the same height and width."""


def circular(module: ContextModule) -> Network:
    """The module on a torus: maps wrap around at the borders.

    Padding the input once, for the whole receptive field, and cropping in every layer is the same
    as padding every layer, because the layers preserve the period.

    Raises:
        ValueError: unless the module has padding "valid".
    """
    if module.padding != "valid":
        raise ValueError(f"the module must have padding='valid', not {module.padding!r}")
    margin = module.receptive_field // 2

    def run(x: Tensor) -> Tensor:
        y: Tensor = module(F.pad(x, (margin,) * 4, mode="circular"))
        return y

    return run


class PoolingNet(nn.Module):
    """Three convolutions with 2x2 pooling between them, an enlargement by 4, a last convolution.

    Args:
        channels: number of maps of every layer.

    Shape: (N, C, H, W) -> (N, C, H, W), height and width multiples of 4; circular padding.
    """

    stride = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="circular") for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, second, third, last = self.layers
        x = F.max_pool2d(first(x).relu(), 2)
        x = F.max_pool2d(second(x).relu(), 2)
        x = F.interpolate(third(x).relu(), scale_factor=self.stride, mode="nearest")
        y: Tensor = last(x)
        return y


def shift_error(network: Network, x: Tensor, shift: int) -> float:
    """|f(shifted x) - shifted f(x)| / |f(x)| for a circular shift by `shift` along both axes."""
    with torch.inference_mode():
        y = network(x)
        moved = network(x.roll((shift, shift), (2, 3)))
        return float((moved - y.roll((shift, shift), (2, 3))).norm() / y.norm())


def crop_error(module: ContextModule, x: Tensor, shift: int) -> float:
    """The same without padding: compares with an image that lacks its first rows and columns.

    Raises:
        ValueError: unless the module has padding "valid".
    """
    if module.padding != "valid":
        raise ValueError(f"the module must have padding='valid', not {module.padding!r}")
    with torch.inference_mode():
        y = module(x)[..., shift:, shift:]
        return float((module(x[..., shift:, shift:]) - y).norm() / y.norm())
