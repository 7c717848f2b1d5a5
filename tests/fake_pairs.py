"""Writes small images with masks, where each pixel of the image tells its label."""

from collections.abc import Sequence
from pathlib import Path
from struct import pack
from zlib import crc32

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

STEP = 20  # the red of a pixel is its label times this, modulo 256

Labels = npt.NDArray[np.uint8]


def random_labels(height: int, width: int, classes: int, seed: int = 0) -> Labels:
    """Blocks of 3x3 pixels, each of one class; every class occurs."""
    blocks = np.random.default_rng(seed).permutation(-(-height // 3) * -(-width // 3)) % classes
    grid = blocks.reshape(-(-height // 3), -1).astype(np.uint8)
    return np.kron(grid, np.ones((3, 3), np.uint8))[:height, :width]


def picture(labels: Labels, seed: int = 0) -> npt.NDArray[np.uint8]:
    """An image of these labels (H, W, 3): red tells the label, green and blue are noise."""
    image = np.random.default_rng(seed).integers(0, 256, (*labels.shape, 3), dtype=np.uint8)
    image[..., 0] = labels.astype(int) * STEP % 256
    return image


def tensors(labels: Labels, seed: int = 0) -> tuple[Tensor, Tensor]:
    """The same as a pair of tensors: (3, H, W) and (H, W)."""
    return torch.from_numpy(picture(labels, seed)).movedim(-1, 0), torch.from_numpy(labels)


def write_pair(image: Path, mask: Path, labels: Labels, seed: int = 0) -> None:
    """Writes both files, and their folders."""
    for file, pixels in ((image, picture(labels, seed)), (mask, labels)):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)


def turn_behind_the_pixels(file: Path) -> None:
    """Adds to a PNG, between its pixels and its end, that it is to be turned by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6  # clockwise
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    whole = pack(">I", len(chunk) - 4) + chunk + pack(">I", crc32(chunk))
    png = file.read_bytes()
    file.write_bytes(png[:-12] + whole + png[-12:])  # IEND, the end, has 12 bytes


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


def write_voc2012(root: Path) -> None:
    """Writes a small VOC 2012 in torchvision's layout: 8 images to train on and 3 to validate."""
    folder = root / "VOCdevkit" / "VOC2012"
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    colours = np.random.default_rng(0).integers(0, 256, (256, 3)).flatten().tolist()
    for part, count in (("train", 8), ("val", 3)):
        names = [f"{part}_{number:02}" for number in range(count)]
        (folder / "ImageSets" / "Segmentation" / f"{part}.txt").write_text("\n".join(names) + "\n")
        for number, name in enumerate(names):
            labels = random_labels(21 + number % 3, 24, 21, number)
            labels[:, 5] = 255
            mask = folder / "SegmentationClass" / f"{name}.png"
            write_pair(folder / "JPEGImages" / f"{name}.jpg", mask, labels, number)
            coloured = Image.fromarray(labels).convert("P")
            coloured.putpalette(colours)
            coloured.save(mask)


def write_cityscapes(root: Path) -> None:
    """Writes a small Cityscapes in torchvision's layout, with the numbers 0 to 33, and 255."""
    for part, count in (("train", 8), ("val", 3)):
        for number in range(count):
            city = ("aachen", "bochum")[number % 2]
            name = f"{city}_000000_{number:06}"
            image = root / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png"
            mask = root / "gtFine" / part / city / f"{name}_gtFine_labelIds.png"
            labels = random_labels(21, 27, 35, number)
            labels[labels == 34] = 255
            write_pair(image, mask, labels, number)


def folder_labels(number: int, size: tuple[int, int]) -> Labels:
    """The numbers 0, 1 and 2, and 9 in a corner."""
    labels = random_labels(*size, 3, number)
    labels[:2, :2] = 9
    return labels


def write_folder(
    root: Path, count: int, sizes: Sequence[tuple[int, int]] = ((12, 15),), part: str = ""
) -> None:
    """Writes images/ and masks/ of a user; the sizes take turns."""
    for number in range(count):
        name = f"{part or 'image'}{number:02}"
        image, mask = root / "images" / part / f"{name}.png", root / "masks" / part / f"{name}.png"
        write_pair(image, mask, folder_labels(number, sizes[number % len(sizes)]), number)
