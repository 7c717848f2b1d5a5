"""Computes the logits of a large image in tiles: equal to those of the whole, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from context_agg.data.pixels import network_input
from context_agg.networks.spans import Span, cuts
from context_agg.networks.vgg_tiles import (
    largest_inputs_behind_vgg,
    logits_behind_vgg,
    vgg_of,
)

OF_ONE_PIXEL = (nn.Identity, nn.ReLU, nn.Dropout)  # an output depends on one input


@runtime_checkable
class ClassMapper(Protocol):
    """A network whose logits are its class maps, enlarged bilinearly to the image."""

    def class_maps(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W) to class maps (N, K, H // stride, W // stride)."""


@dataclass(frozen=True)
class View:
    """What an entry of the class maps sees: a block of pixels of its own, and a margin around it.

    Args:
        stride: side of the block, in pixels; the blocks lie side by side.
        margin: pixels around it, on each side.
    """

    stride: int
    margin: int


def logits_in_tiles(
    network: nn.Module, image: Tensor, tile: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yields the rows, the columns and the logits (K, h, w) of every tile of an image.

    The network runs on each tile with all that its pixels see around it. What it makes up beyond
    the borders, its padding, is therefore seen at the borders of the image only, as when it runs on
    the whole image. An image that is no larger than a tile is one tile.

    Args:
        network: with logits for every pixel.
        image: uint8 (C, H, W).
        tile: the most pixels of a tile's height and width.

    Raises:
        ValueError: if the image is larger than a tile, and what the network sees is not known.
    """
    dtype = next(network.parameters()).dtype
    size = (image.shape[1], image.shape[2])
    if max(size) <= tile:
        whole = slice(0, size[0]), slice(0, size[1])
        yield *whole, network(network_input(image[None], dtype))[0]
        return
    if front_end := vgg_of(network):
        yield from logits_behind_vgg(network, front_end, image, tile)
        return
    view = view_of(network)
    assert isinstance(network, ClassMapper)  # else it has no view
    for rows in spans(size[0], tile, view):
        for columns in spans(size[1], tile, view):
            x = network_input(image[None, :, rows.seen, columns.seen], dtype)
            maps = network.class_maps(x)[0]
            for axis, span, whole_side in ((1, rows, size[0]), (2, columns, size[1])):
                maps = _interpolated(maps, axis, span, whole_side, view.stride)
            yield rows.pixels, columns.pixels, maps


def largest_inputs(
    network: nn.Module, shape: tuple[int, int, int], tile: int
) -> list[tuple[nn.Module, tuple[int, int, int]]]:
    """What `logits_in_tiles` runs on an image (C, H, W), each with the shape of its largest input.

    Raises:
        ValueError: as `logits_in_tiles`.
    """
    channels, *size = shape
    if max(size) <= tile:
        return [(network, shape)]
    if front_end := vgg_of(network):
        return largest_inputs_behind_vgg(network, front_end, shape, tile)
    view = view_of(network)
    height, width = (
        max(span.seen.stop - span.seen.start for span in spans(side, tile, view)) for side in size
    )
    return [(network, (channels, height, width))]


def view_of(network: nn.Module) -> View:
    """Computes from a network's layers, one behind another, what its class maps see.

    A view of `side` pixels is the block and a margin of (side - stride) / 2: kernels are odd, and
    poolings, which do not overlap, make up the block.

    Raises:
        ValueError: for a network without class maps, or with a layer of another kind.
    """
    side = stride = 1
    unknown = None if isinstance(network, ClassMapper) else network
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            side += stride * layer.dilation[0] * (layer.kernel_size[0] - 1)
            stride *= layer.stride[0]
        elif isinstance(layer, nn.MaxPool2d):
            assert isinstance(layer.kernel_size, int)
            side += stride * (layer.kernel_size - 1)
            stride *= layer.kernel_size
        elif next(layer.children(), None) is None and not isinstance(layer, OF_ONE_PIXEL):
            unknown = layer
    if unknown is not None:
        raise ValueError(
            f"it is larger than a tile, and how far {type(unknown).__name__} sees is not known; "
            "take a --tile as large as the image"
        )
    return View(stride, (side - stride) // 2)


def spans(size: int, tile: int, view: View) -> list[Span]:
    """Cuts one axis of an image into tiles of about equal size, `tile` pixels at the most."""
    found = []
    for pixels in cuts(size, tile):
        lower, upper, _ = _neighbours(pixels, size, view.stride)
        entries = slice(int(lower[0]), int(upper[-1]) + 1)
        first = max(0, entries.start * view.stride - view.margin)
        last = entries.stop * view.stride + view.margin
        seen = slice(first - first % view.stride, min(size, last + -last % view.stride))
        found.append(Span(pixels, entries, seen))
    return found


def _neighbours(pixels: slice, size: int, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two entries that each pixel lies between, and its distance from the first, 0 to 1.

    As in F.interpolate with align_corners=False, where the factor is size / (size // stride).
    """
    entries = size // stride
    pixel = torch.arange(pixels.start, pixels.stop, dtype=torch.float64)
    place = ((pixel + 0.5) * entries / size - 0.5).clamp(min=0)
    lower = place.floor()
    distance = place - lower
    upper = torch.where(distance > 0, lower + 1, lower).clamp(max=entries - 1)
    return lower.long(), upper.long(), distance


def _interpolated(maps: Tensor, axis: int, span: Span, size: int, stride: int) -> Tensor:
    """Class maps of the pixels `span.seen`, (K, h, w) -> interpolated at `span.pixels`."""
    first = span.seen.start // stride
    if stride == 1:
        return maps.narrow(axis, span.pixels.start - first, span.pixels.stop - span.pixels.start)
    lower, upper, distance = _neighbours(span.pixels, size, stride)
    weight = distance.to(maps.dtype).reshape([-1 if n == axis else 1 for n in range(maps.dim())])
    below, above = (maps.index_select(axis, entries - first) for entries in (lower, upper))
    return below.lerp_(above, weight)
