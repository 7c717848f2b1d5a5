"""Random views of labelled images: the image and its labels always share one geometry."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional
from torchvision.tv_tensors import Image, Mask

from context_agg.data.pixels import reflected
from context_agg.data.spec import VOID
from context_agg.ops.checks import check_number, check_wholes

Pair = tuple[Tensor, Tensor]
"""An image, uint8 (C, H, W), and its labels, uint8 (H, W)."""

TRIES = 50  # for a crop with a labelled pixel; an image of which 10 % is labelled has one at once

Change = Callable[[Tensor], Tensor]


class RandomView:
    """Mirrors, scales and crops an image and its labels alike; the labels are never interpolated.

    Args:
        mirror: whether half of the images are mirrored, left to right.
        zoom: the scale factor is log-uniform between 1 / (1 + zoom) and 1 + zoom; at most 10.
        crop: height and width of what is cut out at random, in pixels; None: the image's own.
            Where an image is smaller, the rest is its reflection, and void.

    Raises:
        ValueError: for a value that is not valid.
    """

    def __init__(
        self, *, mirror: bool = False, zoom: float = 0.0, crop: Sequence[int] | None = None
    ) -> None:
        if not isinstance(mirror, bool):
            raise ValueError(f"mirror={mirror!r} must be true or false")
        check_number("zoom", zoom, 0, 10)
        if crop is not None:
            check_wholes("crop", crop)
            if len(crop) != 2:
                raise ValueError(f"crop={list(crop)} must be a height and a width: [H,W]")
        self.mirror = mirror
        self.zoom = zoom
        self.crop = None if crop is None else (crop[0], crop[1])

    @property
    def finite(self) -> bool:
        """Whether an image has two views at most: itself and its mirror image."""
        return self.crop is None and not self.zoom

    def __call__(self, pair: Pair, generator: np.random.Generator) -> Pair:
        image, labels = Image(pair[0]), Mask(pair[1])
        size = self.crop or (labels.shape[-2], labels.shape[-1])
        if self.mirror and generator.random() < 0.5:
            image, labels = functional.horizontal_flip(image), functional.horizontal_flip(labels)
        if self.zoom:
            factor = (1 + self.zoom) ** generator.uniform(-1, 1)
            image, labels = _scaled(image, labels, factor)
        if labels.shape[-2:] != size:
            image, labels = _cropped(image, labels, size, generator)
        return image.as_subclass(Tensor), labels.as_subclass(Tensor)


def _scaled(image: Tensor, labels: Tensor, factor: float) -> Pair:
    size = [max(1, round(factor * side)) for side in labels.shape[-2:]]
    # By itself resize takes "nearest" for a Mask, which is off by up to a pixel.
    plain = labels.as_subclass(Tensor)[None]
    labels = functional.resize(plain, size, InterpolationMode.NEAREST_EXACT)[0]
    return functional.resize(image, size), Mask(labels)


def _cropped(
    image: Tensor, labels: Tensor, size: tuple[int, int], generator: np.random.Generator
) -> Pair:
    spare = [have - want for have, want in zip(labels.shape[-2:], size, strict=True)]
    for _ in range(TRIES):
        rows, columns = (
            torch.arange(want) + int(generator.integers(min(0, pixels), max(0, pixels) + 1))
            for pixels, want in zip(spare, size, strict=True)
        )
        cut = _taken(labels, rows, columns)
        cut[_outside(rows, labels.shape[-2])] = VOID
        cut[:, _outside(columns, labels.shape[-1])] = VOID
        if (cut != VOID).any():
            break
    return _taken(image, rows, columns), cut


def _taken(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at these places; beyond its borders x is reflected."""
    rows, columns = reflected(rows, x.shape[-2]), reflected(columns, x.shape[-1])
    return x.index_select(-2, rows).index_select(-1, columns)


def _outside(places: Tensor, side: int) -> Tensor:
    return (places < 0) | (places >= side)


def together(pairs: Sequence[Pair]) -> Pair:
    """Stacks pairs to a batch; smaller ones are padded, right and below, with black and void."""
    sides = [max(labels.shape[axis] for _, labels in pairs) for axis in (0, 1)]
    images = torch.zeros(len(pairs), len(pairs[0][0]), *sides, dtype=torch.uint8)
    targets = torch.full((len(pairs), *sides), VOID, dtype=torch.uint8)
    for number, (image, labels) in enumerate(pairs):
        height, width = labels.shape
        images[number, :, :height, :width] = image
        targets[number, :height, :width] = labels
    return images, targets
