"""Cuts one axis of an image into the parts that a network is run on."""

from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class Span:
    """A tile along one axis of an image.

    Args:
        pixels: the tile.
        entries: those of the class maps that it is interpolated from.
        seen: what these entries see of that which the network is run on, within its borders.
    """

    pixels: slice
    entries: slice
    seen: slice


def cuts(size: int, most: int) -> list[slice]:
    """Cuts 0 to size - 1 into parts of about equal size, `most` at the most."""
    number = ceil(size / most)
    return [slice(size * n // number, size * (n + 1) // number) for n in range(number)]
