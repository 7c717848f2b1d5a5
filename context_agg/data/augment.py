"""Random changes of a batch of training images, each image its own, without a loop over images."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


class RandomShift:
    """Moves every image by up to `pixels` along each axis; what comes in is zero.

    Raises:
        ValueError: for a negative number of pixels.
    """

    def __init__(self, pixels: int) -> None:
        if pixels < 0:
            raise ValueError(f"shift={pixels} must be 0 or more pixels")
        self.pixels = pixels

    def __call__(self, images: Tensor, generator: np.random.Generator) -> Tensor:
        count, _, height, width = images.shape
        shifts = torch.from_numpy(generator.integers(0, 2 * self.pixels + 1, (2, count, 1)))
        rows, columns = shifts[0] + torch.arange(height), shifts[1] + torch.arange(width)
        padded = F.pad(images, (self.pixels,) * 4).movedim(1, -1)  # (N, H + 2p, W + 2p, C)
        image = torch.arange(count)[:, None, None]
        return padded[image, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
