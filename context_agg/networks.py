"""Networks for images: a stem, the context module, a head."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from context_agg.context import ContextModule, DilatedConv2d


class ContextNet(nn.Module):
    """Classifies an image, or every pixel of it, by way of a context module.

    The stem, a 3x3 layer with ReLU, lifts the image's channels to the C maps of the context
    module; where the image has C channels already there is none. Its output is not negative, so
    an identity-initialised module passes it on as it is. The head is a fully connected network on
    the flattened maps; for dense data it is a 1x1 layer from the C maps to the classes.

    Args:
        channels: C, maps in and out of the context module.
        dilations: dilation of each 3x3 layer of the context module, in pixels.
        widths: output maps of each of these layers, in multiples of C.
        in_channels: channels of the image.
        image_size: height and width of the image, in pixels.
        num_classes: K.
        dense: whether every pixel has a class of its own.
        hidden: sizes of the head's hidden layers, each with ReLU.
        backprop: a name in `ops.CONV_OPS`, for the stem and the context module.
        context: the other options of `ContextModule`.

    Shape: (N, in_channels, H, W) -> logits (N, K), or (N, K, H, W) for dense data.

    Raises:
        ValueError: for a value that names no network.
    """

    def __init__(
        self,
        channels: int,
        dilations: Sequence[int],
        widths: Sequence[int],
        *,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        dense: bool = False,
        hidden: Sequence[int] = (),
        backprop: str = "manual",
        **context: Any,
    ) -> None:
        super().__init__()
        module = ContextModule(channels, dilations, widths, backprop=backprop, **context)
        self.stem: nn.Module = (
            nn.Identity()
            if in_channels == channels
            else DilatedConv2d(in_channels, channels, 3, relu=True, backprop=backprop)
        )
        self.context = module
        if dense:
            if hidden:
                raise ValueError(
                    f"hidden={list(hidden)}: the head of dense data has no hidden layer"
                )
            self.head: nn.Module = nn.Conv2d(channels, num_classes, 1)
        else:
            height, width = self.context.output_size(image_size)
            self.head = fully_connected(channels * height * width, hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.context(self.stem(x)))
        return logits


class LinearNet(nn.Module):
    """The head alone: what a fully connected network makes of the pixels, without any context.

    Args:
        in_channels: channels of the image.
        image_size: height and width of the image, in pixels.
        num_classes: K.
        dense: whether every pixel has a class of its own; this network has no answer to that.
        hidden: sizes of the hidden layers, each with ReLU.

    Shape: (N, in_channels, H, W) -> logits (N, K).

    Raises:
        ValueError: for dense data.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        dense: bool = False,
        hidden: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if dense:
            raise ValueError("model=linear classifies whole images; for dense data take another")
        self.head = fully_connected(in_channels * math.prod(image_size), hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x)
        return logits


def fully_connected(in_features: int, hidden: Sequence[int], num_classes: int) -> nn.Sequential:
    """Flattens, then linear layers of those sizes with ReLU between them.

    Raises:
        ValueError: for a hidden layer without units.
    """
    if any(size < 1 for size in hidden):
        raise ValueError(f"hidden={list(hidden)} must all be 1 or more")
    layers: list[nn.Module] = [nn.Flatten()]
    for features, size in pairwise([in_features, *hidden]):
        layers += [nn.Linear(features, size), nn.ReLU()]
    last = hidden[-1] if hidden else in_features
    return nn.Sequential(*layers, nn.Linear(last, num_classes))
