"""DataSpec describes a data set without its images."""

from dataclasses import dataclass
from typing import Any

VOID = 255
"""The label of a pixel that has no class; such a pixel never counts."""

FOR_RESEARCH = ("CamVid", "Cityscapes")
"""Data sets whose terms allow research only, by name."""


@dataclass(frozen=True)
class DataSpec:
    """What a network, and the code that feeds it, must know about a data set.

    Args:
        name: name of the data set, for messages.
        in_channels: 1 for grey, 3 for colour.
        image_size: height and width, in pixels.
        classes: names of the classes, in order.
        margin: empty border around the object in an image, in pixels.
        dense: whether every pixel has a class of its own.
        ink: whether the images, all grey, show something light on black, as MNIST does. Others then
            have to be prepared like them.
    """

    name: str
    in_channels: int
    image_size: tuple[int, int]
    classes: tuple[str, ...]
    margin: int = 0
    dense: bool = False
    ink: bool = False

    @property
    def shapes(self) -> dict[str, Any]:
        """The arguments that the constructor of a network takes from it."""
        return {
            "in_channels": self.in_channels,
            "image_size": self.image_size,
            "num_classes": len(self.classes),
            "dense": self.dense,
        }
