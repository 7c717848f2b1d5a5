"""The logits of a large image behind VGG-16: first its class maps, then the logits, in tiles.

The class maps of the whole image are kept: they are 64 times smaller than the logits. So the
context module, which may see more than a thousand pixels on each side of a tile, does not make the
front end compute them again.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from context_agg.data.pixels import network_input
from context_agg.networks.context_net import ContextNet
from context_agg.networks.front_ends import FrontEndNet
from context_agg.networks.spans import Span, cuts
from context_agg.networks.vgg import STRIDE, UPSAMPLINGS, VGGFrontEnd, outputs, seen_by


def vgg_of(network: nn.Module) -> VGGFrontEnd | None:
    """The front end of a network, if it is VGG-16."""
    front_end = network.front_end if isinstance(network, ContextNet | FrontEndNet) else None
    return front_end if isinstance(front_end, VGGFrontEnd) else None


def logits_behind_vgg(
    network: nn.Module, front_end: VGGFrontEnd, image: Tensor, tile: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """As `logits_in_tiles`, for a network whose front end is VGG-16."""
    _, height, width = image.shape
    maps = _class_maps(front_end, image, tile)
    refine, margin = _refinement(network)
    for rows in _spans(height, tile, margin):
        for columns in _spans(width, tile, margin):
            logits = refine(maps[None, :, rows.seen, columns.seen])
            for axis, span in ((2, rows), (3, columns)):
                logits = _part(logits, axis, span.entries, span.seen.start)
            enlarged = UPSAMPLINGS[front_end.upsampling](logits)
            for axis, span in ((2, rows), (3, columns)):
                enlarged = _part(enlarged, axis, span.pixels, STRIDE * span.entries.start)
            yield rows.pixels, columns.pixels, enlarged[0]


def largest_inputs_behind_vgg(
    network: nn.Module, front_end: VGGFrontEnd, shape: tuple[int, int, int], tile: int
) -> list[tuple[nn.Module, tuple[int, int, int]]]:
    """As `largest_inputs`; the input of the front end is given without its margin."""
    channels, *size = shape
    refine, margin = _refinement(network)
    classes = front_end.convolutions["final"].out_channels
    block_h, block_w = (STRIDE * _longest(cuts(outputs(side), _entries_of(tile))) for side in size)
    seen_h, seen_w = (_longest([span.seen for span in _spans(side, tile, margin)]) for side in size)
    tile_h, tile_w = (_longest(cuts(side, tile)) for side in size)
    return [
        (front_end, (channels, block_h, block_w)),
        (refine, (classes, seen_h, seen_w)),
        (nn.Identity(), (classes, tile_h, tile_w)),  # the enlarged logits
    ]


def _class_maps(front_end: VGGFrontEnd, image: Tensor, tile: int) -> Tensor:
    """The class maps (K, h, w) of a whole image; each tile sees the margin of the whole."""
    height, width = (outputs(side) for side in image.shape[1:])
    final = front_end.convolutions["final"]
    maps = torch.empty(final.out_channels, height, width, dtype=final.weight.dtype)
    for rows in cuts(height, _entries_of(tile)):
        for columns in cuts(width, _entries_of(tile)):
            x = network_input(seen_by(rows, columns, image[None]), maps.dtype)
            maps[:, rows, columns] = front_end.class_maps(front_end.normalised(x))[0]
    return maps


def _refinement(network: nn.Module) -> tuple[nn.Module, int]:
    """What follows the front end, and how many class maps it sees on each side of one."""
    if isinstance(network, ContextNet):
        return nn.Sequential(network.context, network.head), network.context.receptive_field // 2
    return nn.Identity(), 0


def _spans(size: int, tile: int, margin: int) -> list[Span]:
    """The tiles along an axis; what is seen are class maps.

    A pixel lies between the entry of its own block and one beside it, on either side.
    """
    number, found = outputs(size), []
    for pixels in cuts(size, tile):
        first, stop = pixels.start // STRIDE - 1, outputs(pixels.stop) + 1
        entries, seen = (
            slice(max(0, first - more), min(number, stop + more)) for more in (0, margin)
        )
        found.append(Span(pixels, entries, seen))
    return found


def _entries_of(tile: int) -> int:
    """How many entries of the class maps a tile has along a side, at least one."""
    return max(1, tile // STRIDE)


def _part(x: Tensor, axis: int, wanted: slice, first: int) -> Tensor:
    """The wanted places along an axis, of which x has those from `first` on."""
    return x.narrow(axis, wanted.start - first, wanted.stop - wanted.start)


def _longest(parts: list[slice]) -> int:
    longest: int = max(part.stop - part.start for part in parts)
    return longest
