"""Front ends for dense data: they make the class maps that a context module refines."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from context_agg.networks.context import DilatedConv2d
from context_agg.ops.checks import check_number, check_whole, check_wholes

FrontEndMaker = Callable[..., nn.Module]
"""(in_channels=, num_classes=) -> images (N, in_channels, H, W) to class maps (N, K, h, w)."""


class FrontEnd(nn.Module):
    """A few 3x3 layers with ReLU, then a linear 1x1 layer with one map per class.

    Args:
        widths: maps of each 3x3 layer.
        stride: how many times smaller the class maps are than the image. There is a max pooling
            for each of its prime factors, after a layer of its own, the first layers first.
        lift: a constant added to every class map. The probabilities stay the same, but a context
            module that starts as the identity zeroes negative values and learns nothing from them.
        in_channels: channels of the image.
        num_classes: K.
        backprop: a name in `ops.CONV_OPS`.

    Shape: (N, in_channels, H, W) -> (N, K, H // stride, W // stride).

    Raises:
        ValueError: for no layer, a width or stride below 1, fewer layers than poolings, or an
            image smaller than the stride.
    """

    def __init__(
        self,
        widths: Sequence[int],
        stride: int = 1,
        lift: float = 0.0,
        *,
        in_channels: int,
        num_classes: int,
        backprop: str = "manual",
    ) -> None:
        super().__init__()
        check_wholes("widths", widths)
        if not widths:
            raise ValueError("widths=[] must name at least one layer")
        check_whole("stride", stride)
        check_number("lift", lift)
        poolings = _prime_factors(stride)
        if len(poolings) > len(widths):
            raise ValueError(
                f"stride={stride} has {len(poolings)} poolings, each behind a layer, but "
                f"widths={list(widths)} has {len(widths)} layers"
            )
        layers: list[nn.Module] = []
        for number, (c_in, c_out) in enumerate(pairwise([in_channels, *widths])):
            layers.append(DilatedConv2d(c_in, c_out, 3, relu=True, backprop=backprop))
            if number < len(poolings):
                layers.append(nn.MaxPool2d(poolings[number]))
        self.layers = nn.Sequential(*layers)
        self.stride = stride
        self.lift = lift
        self.classifier = DilatedConv2d(widths[-1], num_classes, 1, backprop=backprop)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < self.stride:
            height, width = x.shape[2:]
            raise ValueError(f"the image is {height}x{width}, too small for stride={self.stride}")
        class_maps: Tensor = self.classifier(self.layers(x))
        return class_maps + self.lift


class FrontEndNet(nn.Module):
    """A front end alone, for dense data: the first stage of a `ContextNet` that has one.

    Args:
        front_end: makes a front end, given in_channels and num_classes.
        in_channels: channels of the image.
        image_size: height and width of the image, in pixels.
        num_classes: K.
        dense: whether every pixel has a class of its own; must be true.

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
            raise ValueError("model=front_end needs a front end; choose one with front_end=small")
        self.front_end = make_front_end(front_end, in_channels, image_size, num_classes, dense)

    def forward(self, x: Tensor) -> Tensor:
        return enlarged(self.class_maps(x), x, self.front_end)

    def class_maps(self, x: Tensor) -> Tensor:
        """The logits (N, K, h, w) before they are enlarged to the image."""
        maps: Tensor = self.front_end(x)
        return maps


def make_front_end(
    front_end: FrontEndMaker,
    in_channels: int,
    image_size: tuple[int, int],
    num_classes: int,
    dense: bool,
) -> nn.Module:
    """Makes a front end for these data; tries one on the meta device, so that errors come early.

    Raises:
        ValueError: for data that are not dense, or an image that is too small.
    """
    if not dense:
        raise ValueError(
            "a front end predicts a class for every pixel, but these data have one for every "
            "image; take dense data (data=digit_scenes), or leave out front_end="
        )
    try:
        with torch.no_grad(), torch.device("meta"):
            tried = front_end(in_channels=in_channels, num_classes=num_classes)
            tried(torch.zeros(1, in_channels, *image_size))
        return front_end(in_channels=in_channels, num_classes=num_classes)
    except ValueError as error:  # it is made inside a model, which is not to blame
        raise ValueError(f"front_end: {error}") from error


def _prime_factors(number: int) -> list[int]:
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors


def enlarged(logits: Tensor, x: Tensor, front_end: nn.Module) -> Tensor:
    """Enlarges class maps (N, K, h, w) to the image x, bilinearly; leaves logits (N, K) alone.

    A front end that has a method `enlarge`, (logits, x) -> logits, does so in its own way.
    """
    if logits.dim() == 2 or logits.shape[2:] == x.shape[2:]:
        return logits
    if callable(enlarge := getattr(front_end, "enlarge", None)):
        larger: Tensor = enlarge(logits, x)
        return larger
    return F.interpolate(logits, x.shape[2:], mode="bilinear", align_corners=False)
