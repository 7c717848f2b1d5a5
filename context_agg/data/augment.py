"""Random changes of training images, drawn for each image, without a loop over the images."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from context_agg.ops.checks import check_number, check_whole


class RandomShift:
    """Moves every image by up to `pixels` along each axis and fills with zeros.

    Raises:
        ValueError: for a negative number of pixels.
    """

    def __init__(self, pixels: int) -> None:
        check_whole("shift", pixels, 0)
        self.pixels = pixels

    def __call__(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        if self.pixels == 0:
            return images
        count, _, height, width = images.shape
        shifts = torch.from_numpy(generator.integers(0, 2 * self.pixels + 1, (2, count, 1)))
        rows, columns = shifts[0] + torch.arange(height), shifts[1] + torch.arange(width)
        padded = F.pad(images, (self.pixels,) * 4).movedim(1, -1)  # (N, H + 2p, W + 2p, C)
        image = torch.arange(count)[:, None, None]
        return padded[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()


class RandomAffine:
    """Rotates and scales every image about its centre, then shifts it; fills with zeros.

    Args:
        shift: the largest shift along each axis, in whole pixels; less than `side`.
        rotate: the largest rotation in either direction, in degrees; at most 180.
        zoom: the scale factor is log-uniform between 1 / (1 + zoom) and 1 + zoom; at most 10.
        side: the smaller side of the images, in pixels.

    Raises:
        ValueError: for a negative number, or one above its limit.
    """

    def __init__(self, shift: int, rotate: float = 0.0, zoom: float = 0.0, *, side: int) -> None:
        check_number("rotate", rotate, 0, 180)
        check_number("zoom", zoom, 0, 10)
        self.shift = RandomShift(shift)
        if shift >= side:
            raise ValueError(
                f"shift={shift} must be less than the {side} pixels of an image's side"
            )
        self.rotate = rotate
        self.zoom = zoom

    def __call__(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        if self.rotate or self.zoom:
            images = self._warp(images, generator)
        return self.shift(images, generator)

    def _warp(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        count, _, height, width = images.shape
        angle = np.deg2rad(self.rotate) * generator.uniform(-1, 1, count)
        scale = (1 + self.zoom) ** generator.uniform(-1, 1, count)
        cosine, sine, zero = np.cos(angle) / scale, np.sin(angle) / scale, np.zeros(count)
        # where each pixel comes from, in units of half the image's sides, which may differ
        ratio = height / width
        rows = [[cosine, sine * ratio, zero], [-sine / ratio, cosine, zero]]
        matrix = torch.from_numpy(np.moveaxis(np.array(rows), -1, 0)).float()
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        warped = F.grid_sample(images.float(), grid, align_corners=False)
        return warped.round().to(images.dtype)
