"""DataSpec: the kind of data, without the images."""

from dataclasses import dataclass
from typing import Any

VOID = 255
"""The label of a pixel that has no class: it never counts."""


@dataclass(frozen=True)
class DataSpec:
    """What a network, and whoever feeds it, must know of a data set.

    Args:
        name: of the data set, to print.
        in_channels: 1 for grey, 3 for colour.
        image_size: height and width, in pixels.
        classes: their names, in order.
        margin: what is free around the object that an image shows, in pixels.
        dense: whether every pixel has a class of its own.
    """

    name: str
    in_channels: int
    image_size: tuple[int, int]
    classes: tuple[str, ...]
    margin: int = 0
    dense: bool = False

    @property
    def shapes(self) -> dict[str, Any]:
        """What the constructor of a network takes of it."""
        return {
            "in_channels": self.in_channels,
            "image_size": self.image_size,
            "num_classes": len(self.classes),
            "dense": self.dense,
        }
