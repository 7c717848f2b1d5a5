"""The head: a fully connected network, after a context module or alone."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from context_agg.ops.checks import check_wholes


class LinearNet(nn.Module):
    """The head alone: a fully connected network on the pixels, without any context module.

    Args:
        in_channels: channels of the image.
        image_size: height and width of the image, in pixels.
        num_classes: K.
        dense: whether every pixel has a class of its own; not supported.
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
            raise ValueError("model=linear classifies whole images; take another for dense data")
        self.head = fully_connected(in_channels * math.prod(image_size), hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x)
        return logits


def fully_connected(in_features: int, hidden: Sequence[int], num_classes: int) -> nn.Sequential:
    """A flattening, then linear layers of the hidden sizes and of num_classes, ReLU between them.

    Raises:
        ValueError: for a hidden layer without units.
    """
    check_wholes("hidden", hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for features, size in pairwise([in_features, *hidden]):
        layers += [nn.Linear(features, size), nn.ReLU()]
    last = hidden[-1] if hidden else in_features
    return nn.Sequential(*layers, nn.Linear(last, num_classes))
