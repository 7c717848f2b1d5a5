"""Networks for images: a stem, the context module, a head."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from context_agg.networks.context import ContextModule, DilatedConv2d

FrontEndMaker = Callable[..., nn.Module]
"""(in_channels=, num_classes=) -> images (N, in_channels, H, W) to class maps (N, K, h, w)."""


class ContextNet(nn.Module):
    """Classifies an image, or every pixel of it, by way of a context module.

    The stem lifts the image's channels to the C maps of the context module: a 3x3 layer with ReLU,
    or nothing where the image has C channels already; its output is not negative, so an
    identity-initialised module passes it on as it is. With a front end (dense data) the stem is
    that, and what the module makes better are class maps, C of them for C classes, as in the paper.

    The head is a fully connected network on the flattened maps. For dense data it is a 1x1 layer
    from the C maps to the classes, or nothing where C is their number, and the class maps are
    enlarged to the image, bilinearly, where the front end has made them smaller.

    Args:
        channels: C, maps in and out of the context module; None: the number of classes.
        dilations: dilation of each 3x3 layer of the context module, in pixels.
        widths: output maps of each of these layers, in multiples of C.
        in_channels: channels of the image.
        image_size: height and width of the image, in pixels.
        num_classes: K.
        dense: whether every pixel has a class of its own.
        front_end: makes a front end of in_channels and num_classes.
        hidden: sizes of the head's hidden layers, each with ReLU.
        backprop: a name in `ops.CONV_OPS`, for the stem and the context module.
        context: the other options of `ContextModule`.

    Shape: (N, in_channels, H, W) -> logits (N, K), or (N, K, H, W) for dense data.

    Raises:
        ValueError: for a value that names no network.
    """

    def __init__(
        self,
        channels: int | None,
        dilations: Sequence[int],
        widths: Sequence[int],
        *,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        dense: bool = False,
        front_end: FrontEndMaker | None = None,
        hidden: Sequence[int] = (),
        backprop: str = "manual",
        **context: Any,
    ) -> None:
        super().__init__()
        if channels is None:
            channels = num_classes
        module = ContextModule(channels, dilations, widths, backprop=backprop, **context)
        self.stem: nn.Module
        self.head: nn.Module
        if front_end is not None:
            if channels != num_classes:
                raise ValueError(
                    f"channels={channels}: behind a front end the maps are those of the "
                    f"{num_classes} classes; say model.channels=null"
                )
            self.stem = _make(front_end, in_channels, image_size, num_classes, dense)
        elif in_channels == channels:
            self.stem = nn.Identity()
        else:
            self.stem = DilatedConv2d(in_channels, channels, 3, relu=True, backprop=backprop)
        self.context = module
        if dense:
            _check_dense(hidden, module)
            self.head = (
                nn.Identity() if channels == num_classes else nn.Conv2d(channels, num_classes, 1)
            )
        else:
            height, width = module.output_size(image_size)
            self.head = fully_connected(channels * height * width, hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.context(self.stem(x)))
        return enlarged(logits, x)


class FrontEndNet(nn.Module):
    """A front end alone, for dense data: the first stage of a `ContextNet` that has one.

    Args:
        front_end: makes a front end of in_channels and num_classes.
        in_channels: channels of the image.
        image_size: height and width of the image, in pixels; any.
        num_classes: K.
        dense: whether every pixel has a class of its own; it must.

    Shape: (N, in_channels, H, W) -> logits (N, K, H, W).

    Raises:
        ValueError: without a front end, or for data that are not dense.
    """

    def __init__(
        self,
        front_end: FrontEndMaker | None,
        *,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        dense: bool = False,
    ) -> None:
        super().__init__()
        if front_end is None:
            raise ValueError("model=front_end needs a front end; choose one: front_end=small")
        self.stem = _make(front_end, in_channels, image_size, num_classes, dense)

    def forward(self, x: Tensor) -> Tensor:
        return enlarged(self.stem(x), x)


def enlarged(logits: Tensor, x: Tensor) -> Tensor:
    """Class maps (N, K, h, w) at the size of the image x, bilinearly; logits (N, K) as they are."""
    if logits.dim() == 2 or logits.shape[2:] == x.shape[2:]:
        return logits
    return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)


def _make(
    front_end: FrontEndMaker,
    in_channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    dense: bool,
) -> nn.Module:
    if not dense:
        raise ValueError(
            "a front end makes class maps, a class for every pixel, and these data have one for "
            "every image; take dense data (data=digit_scenes), or leave out front_end="
        )
    stem = front_end(in_channels=in_channels, num_classes=num_classes)
    with torch.no_grad():  # an image that it refuses is refused before anything is trained
        stem(torch.zeros(1, in_channels, *image_size))
    return stem


def _check_dense(hidden: Sequence[int], context: ContextModule) -> None:
    if hidden:
        raise ValueError(f"hidden={list(hidden)}: the head of dense data has no hidden layer")
    if context.padding == "valid":
        raise ValueError(
            "padding='valid' leaves pixels at the border without a class; use 'same' or 'once'"
        )


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
