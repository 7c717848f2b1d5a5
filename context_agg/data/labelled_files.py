"""Finds and reads images with masks: files of the same name, a number in every pixel of a mask."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from context_agg.data.image_files import opened, read_colour
from context_agg.data.spec import VOID
from context_agg.data.views import Pair

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
NUMBERS = ("1", "L", "P", "I", "I;16")  # Pillow's modes with one whole number a pixel

Files = tuple[Path, Path]
"""An image and its mask."""

CHECK_ALL = "`python -m context_agg.data DIR` checks every file"


@dataclass(frozen=True)
class LabelCode:
    """Which number in a mask is which label.

    Args:
        labels: label of each number that may occur; `VOID` for those to ignore.
        way_out: what to do about another number, which takes the place of {}.
    """

    labels: Mapping[int, int]
    way_out: str

    def decode(self, numbers: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """The labels of these numbers.

        Raises:
            ValueError: for a number that stands for no label.
        """
        table = np.full(256, -1)
        table[list(self.labels)] = list(self.labels.values())
        byte = (numbers >= 0) & (numbers < 256)
        found = np.where(byte, table[numbers & 255], -1)
        if (found < 0).any():
            row, column = np.argwhere(found < 0)[0].tolist()
            wrong = numbers[row, column]
            raise ValueError(
                f"the pixel in row {row}, column {column} has the label {wrong}, and labels are "
                f"{_ranges(self.labels)}; {self.way_out.format(wrong)}"
            )
        return found.astype(np.uint8)


def find_pairs(images: Path, masks: Path) -> list[Files]:
    """Finds the images of a folder and their masks, which have the same name up to the ending.

    Raises:
        FileNotFoundError: if a folder is not there or empty, or a file has no partner.
        ValueError: if two files of a folder have the same name.
    """
    found, partners = _by_name(images), _by_name(masks)
    for name in sorted(found.keys() ^ partners.keys()):
        file = found.get(name) or partners[name]
        kind, place = ("mask", masks) if name in found else ("image", images)
        raise FileNotFoundError(
            f"{file} has no {kind}: there is no {place / name}.png, nor another image of that "
            f"name; add it, or remove {file.name}"
        )
    return [(found[name], partners[name]) for name in sorted(found)]


def read_pair(image_file: Path, mask_file: Path, code: LabelCode) -> Pair:
    """Reads an image, uint8 (3, H, W), and its labels, uint8 (H, W).

    Raises:
        OSError, ValueError: if one cannot be read, or the mask is not one of this image; the
            message names the file.
    """
    image, labels = read_colour(image_file), read_labels(mask_file, code)
    if labels.shape != image.shape[1:]:
        (height, width), (rows, columns) = labels.shape, image.shape[1:]
        raise ValueError(
            f"{mask_file} has {width}x{height} pixels, but its image {image_file} has "
            f"{columns}x{rows}; give both the same size (a mask without interpolation)"
        )
    return image, torch.from_numpy(labels)


def read_labels(file: Path, code: LabelCode) -> npt.NDArray[np.uint8]:
    """Reads the labels of a mask, (H, W).

    Raises:
        OSError, ValueError: if it cannot be read, or holds something else than labels.
    """
    with opened(file) as mask:
        if mask.mode not in NUMBERS:
            raise ValueError(
                f"it is a colour image ({mask.mode}), but a mask has one number a pixel, that of "
                "its class; replace the colours by these numbers, and save it in grey"
            )
        numbers = np.array(mask).astype(np.int64)
        palette = mask.mode == "P"
        try:
            labels = code.decode(numbers)
        except ValueError as error:
            if not palette:
                raise
            raise ValueError(
                f"it has a palette, and its numbers are places in the palette, not classes: {error}"
            ) from error
    if (labels == VOID).all():
        raise ValueError(f"{file} has no pixel with a class; leave it and its image out")
    return labels


def _by_name(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        if (other := found.setdefault(file.stem, file)) is not file:
            raise ValueError(f"{other} and {file} have the same name; remove one of them")
    if not found:
        raise FileNotFoundError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    return found


def _ranges(numbers: Mapping[int, int]) -> str:
    """Numbers in words, such as "0 to 10 and 255"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and spans[-1][1] == number - 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    words = [f"{low} to {high}" if high > low else str(low) for low, high in spans]
    return " and ".join(", ".join(words).rsplit(", ", 1))
