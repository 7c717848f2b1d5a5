"""The network of the 2018 post's drafts, peculiarities included."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from context_agg.networks.context import DilatedConv2d, receptive_field
from context_agg.networks.shortcuts import GradientShortcuts
from context_agg.ops.checks import check_choice, check_number, check_wholes


class Arctan(nn.Module):
    """Arctan as an activation, which bounds the logits by pi / 2."""

    def forward(self, x: Tensor) -> Tensor:
        return x.arctan()


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "arctan": Arctan}


class PostContext(nn.Module):
    """Dilated 3x3 layers of one map with ReLU and no bias, weights from N(0, init_std^2).

    Unlike `ContextModule`, it ends in a 3x3 layer with ReLU.

    Args:
        dilations: dilation of each layer, in pixels.
        init_std: standard deviation of the weights; 1 in the drafts.
        shortcut: gradient shortcuts between the layers.
        backprop: a name in `ops.CONV_OPS`.

    Shape: (N, 1, H, W) -> (N, 1, H, W).

    Raises:
        ValueError: for a value that is not valid.
    """

    channels = 1

    def __init__(
        self,
        dilations: Sequence[int],
        init_std: float,
        shortcut: GradientShortcuts | None = None,
        backprop: str = "manual",
    ) -> None:
        super().__init__()
        check_wholes("dilations", dilations)
        if not dilations:
            raise ValueError("dilations=[] must name at least one layer")
        check_number("init_std", init_std, 0)
        self.layers = nn.ModuleList(
            DilatedConv2d(1, 1, 3, dilation, bias=False, relu=True, backprop=backprop)
            for dilation in dilations
        )
        for conv in self.convolutions:
            nn.init.normal_(conv.weight, std=init_std)
        self.shortcut = shortcut or GradientShortcuts()
        self.receptive_field = receptive_field(dilations)

    @property
    def convolutions(self) -> list[DilatedConv2d]:
        """The layers, in order."""
        return cast(list[DilatedConv2d], list(self.layers))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.shortcut(x, self.convolutions)
        return y


class PostNet(nn.Module):
    """Classifies an image with `PostContext` and a fully connected head with bounded logits.

    Args:
        dilations: dilation of each convolution, in pixels.
        init_std: standard deviation of the convolutions' weights.
        hidden: sizes of the head's hidden layers.
        activation: "sigmoid" or "arctan", after every layer of the head including the last.
        in_channels: channels of the image; must be 1.
        image_size: height and width of the image, in pixels.
        num_classes: K.
        dense: whether every pixel has a class of its own; not supported.
        shortcut: gradient shortcuts between the convolutions.
        backprop: a name in `ops.CONV_OPS`.

    Shape: (N, 1, H, W) -> logits (N, K).

    Raises:
        ValueError: for a value that is not valid.
    """

    def __init__(
        self,
        dilations: Sequence[int],
        init_std: float,
        hidden: Sequence[int],
        activation: str,
        *,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        dense: bool = False,
        shortcut: GradientShortcuts | None = None,
        backprop: str = "manual",
    ) -> None:
        super().__init__()
        if dense or in_channels != 1:
            raise ValueError("model=post classifies grey images; take another for other data")
        check_choice("activation", activation, tuple(ACTIVATIONS))
        check_wholes("hidden", hidden)
        self.context = PostContext(dilations, init_std, shortcut, backprop)
        layers: list[nn.Module] = [nn.Flatten()]
        for features, size in pairwise([math.prod(image_size), *hidden, num_classes]):
            layers += [nn.Linear(features, size), ACTIVATIONS[activation]()]
        self.head = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.context(x))
        return logits
