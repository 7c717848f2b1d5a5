"""Finds and reads images with masks: files of the same name, a number in every pixel of a mask."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from context_agg.cli.places import check_folder
from context_agg.data.image_files import image_size, opened, read_colour
from context_agg.data.spec import VOID
from context_agg.data.views import Pair

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
NUMBERS = ("1", "L", "P", "I", "I;16", "I;16B")  # Pillow's modes with one whole number a pixel
OTHERS = {  # what a mask of another mode is, unless it has colours, and what to do
    "LA": ("a grey image with transparency", "save it without transparency"),
    "F": ("an image with decimals", "save it with whole numbers"),
}
COLOUR = "a colour image", "replace the colours by these numbers, and save it in grey"

Files = tuple[Path, Path]
"""An image and its mask."""

Numbers = npt.NDArray[np.int64]
"""What the pixels of a mask hold, (H, W)."""


@dataclass(frozen=True)
class LabelCode:
    """Which number in a mask is which label.

    Args:
        labels: label of each number that may occur; `VOID` for those to ignore.
        way_out: what to do about another number, or a class that does not occur.
    """

    labels: Mapping[int, int]
    way_out: str

    def decode(self, numbers: Numbers) -> npt.NDArray[np.uint8]:
        """The labels of these numbers.

        Raises:
            ValueError: for a number that stands for no label, or if all are to be ignored.
        """
        table = np.full(256, -1)
        table[list(self.labels)] = list(self.labels.values())
        byte = (numbers >= 0) & (numbers < 256)
        found = np.where(byte, table[numbers & 255], -1)
        if (found < 0).any():
            row, column = np.argwhere(found < 0)[0].tolist()
            raise ValueError(
                f"the pixel in row {row}, column {column} has the number {numbers[row, column]}, "
                f"but the numbers of labels are {_ranges(self.labels)}; {self.way_out}"
            )
        if (found == VOID).all():
            raise ValueError("no pixel has a class; leave the mask and its image out")
        return found.astype(np.uint8)


def find_pairs(images: Path, masks: Path) -> tuple[list[Files], list[str]]:
    """Finds the images of a folder and their masks, which have the same name up to the ending.

    Returns:
        The pairs in the order of their names, and what is wrong with other files.

    Raises:
        FileNotFoundError: if a folder is not there, or holds no images.
    """
    problems: list[str] = []
    found, partners = _by_name(images, problems), _by_name(masks, problems)
    for name in sorted(found.keys() ^ partners.keys()):
        file = found.get(name) or partners[name]
        kind, place = ("mask", masks) if name in found else ("image", images)
        problems.append(
            f"{file} has no {kind}: there is no {place / name}.png, nor another file of that name; "
            f"add it, or remove {file.name}"
        )
    both = sorted(found.keys() & partners.keys())
    return [(found[name], partners[name]) for name in both], problems


@dataclass
class HeaderCheck:
    """Looks at images and masks without reading their pixels.

    It sees that all masks of a data set have the same palette, if they have one. Their numbers are
    places in it. Where a program chose a palette for every file, to save bytes, the same number is
    another colour, and another class, in every file.
    """

    palette: list[int] = field(default_factory=list)
    palette_file: Path | None = None

    def __call__(self, image_file: Path, mask_file: Path) -> tuple[int, int]:
        """The height and width of an image.

        Raises:
            OSError, ValueError: if a file is no image, or the mask cannot be one of this image.
        """
        width, height = image_size(image_file)
        with _way_out("image"), opened(mask_file) as mask:
            mode, size, palette = mask.mode, mask.size, _palette(mask)
            jpeg = mask.format == "JPEG"
        if jpeg:
            raise ValueError(f"{mask_file} is a JPEG, which changes numbers; save masks as PNG")
        if mode not in NUMBERS:
            kind, way_out = OTHERS.get(mode, COLOUR)
            raise ValueError(
                f"{mask_file} is {kind} ({mode}), but a mask has one number a pixel, that of "
                f"its class; {way_out}"
            )
        if size != (width, height):
            way_out = "make them the same size, the mask without interpolation"
            if size == (height, width):
                way_out = "save both upright"
            raise ValueError(
                f"{mask_file} has {size[0]}x{size[1]} pixels, but its image {image_file} has "
                f"{width}x{height}; {way_out}"
            )
        both = min(len(palette), len(self.palette))  # as many as are used
        if palette[:both] != self.palette[:both]:
            raise ValueError(
                f"{mask_file} and {self.palette_file} have different palettes, so a number is not "
                "the same class in both; save the numbers of the classes in grey"
            )
        if len(palette) > both:
            self.palette, self.palette_file = palette, mask_file
        return height, width


def read_pair(image_file: Path, mask_file: Path, code: LabelCode) -> Pair:
    """Reads an image, uint8 (3, H, W), and its labels, uint8 (H, W).

    Raises:
        OSError, ValueError: if one cannot be read, the mask has other numbers than labels, or they
            differ in size after all, as a PNG can tell behind its pixels that it is turned.
    """
    numbers, palette = read_numbers(mask_file)
    try:
        labels = code.decode(numbers)
    except ValueError as error:
        places = " has a palette, and its numbers are places in it, not classes" * palette
        raise ValueError(f"{mask_file}{places}: {error}") from error
    with _way_out("mask"):
        image = read_colour(image_file)
    (height, width), (mask_height, mask_width) = image.shape[1:], labels.shape
    if (height, width) != (mask_height, mask_width):
        raise ValueError(
            f"{image_file}, turned as its camera says, has {width}x{height} pixels, but its mask "
            f"{mask_file} has {mask_width}x{mask_height}; save both upright"
        )
    return image, torch.from_numpy(labels)


def read_numbers(mask_file: Path) -> tuple[Numbers, bool]:
    """Reads the numbers of a mask, (H, W), and whether it has a palette.

    Raises:
        OSError, ValueError: if it cannot be read.
    """
    with _way_out("image"), opened(mask_file) as mask:
        return np.array(mask).astype(np.int64), mask.mode == "P"


@contextmanager
def _way_out(partner: str) -> Iterator[None]:
    """Adds to the message on a file that cannot be read what to do."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error}; replace the file, or remove it with its {partner}") from error


def _palette(mask: Image.Image) -> list[int]:
    """Red, green and blue of each place in the palette of a file, or none."""
    if mask.palette is None:
        return []
    # Pillow's own getpalette reads all pixels first; this image has one, and the same palette.
    pixel = Image.new("P", (1, 1))
    pixel.putpalette(mask.palette.palette, mask.palette.rawmode or "RGB")
    return pixel.getpalette() or []


def _by_name(folder: Path, problems: list[str]) -> dict[str, Path]:
    check_folder(folder)
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in SUFFIXES or file.name.startswith("."):
            continue
        if (other := found.setdefault(file.stem, file)) is not file:
            problems.append(f"{other} and {file} have the same name; remove one of them")
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
