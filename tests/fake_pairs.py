"""Writes small images with masks, where each pixel of the image tells its label."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

STEP = 20  # the red of a pixel is its label times this

Labels = npt.NDArray[np.uint8]


def random_labels(height: int, width: int, classes: int, seed: int = 0) -> Labels:
    """Blocks of 3x3 pixels, each of one class; every class occurs."""
    blocks = np.random.default_rng(seed).permutation(-(-height // 3) * -(-width // 3)) % classes
    grid = blocks.reshape(-(-height // 3), -1).astype(np.uint8)
    return np.kron(grid, np.ones((3, 3), np.uint8))[:height, :width]


def picture(labels: Labels, seed: int = 0) -> npt.NDArray[np.uint8]:
    """An image of these labels (H, W, 3): red tells the label, green and blue are noise."""
    image = np.random.default_rng(seed).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    image[..., 0] = labels * STEP
    return image


def tensors(labels: Labels, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The same as a pair of tensors: (3, H, W) and (H, W)."""
    return torch.from_numpy(picture(labels, seed)).movedim(-1, 0), torch.from_numpy(labels)


def write_pair(image: Path, mask: Path, labels: Labels, seed: int = 0) -> None:
    """Writes both files, and their folders."""
    for file, pixels in ((image, picture(labels, seed)), (mask, labels)):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)


def write_camvid(
    root: Path, size: tuple[int, int] = (18, 24), counts: tuple[int, ...] = (6, 3, 3)
) -> Path:
    """Writes a small CamVid; returns its folder. The labels are 0 to 11, of which 11 is void."""
    for part, count in zip(("train", "val", "test"), counts, strict=True):
        for number in range(count):
            name = f"{part}_{number:02}.png"
            files = (root / "CamVid" / folder / name for folder in (part, f"{part}annot"))
            seed = 100 * len(part) + number
            write_pair(*files, random_labels(*size, 12, seed), seed)
    return root / "CamVid"
