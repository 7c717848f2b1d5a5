"""Reads every file of a data set with masks: what is in them, and what is wrong."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from context_agg.cli.places import check_folder
from context_agg.data.camvid import camvid_parts
from context_agg.data.cityscapes import cityscapes_parts
from context_agg.data.folder import check_byte, folder_parts, folder_split, label_code
from context_agg.data.image_files import is_turned
from context_agg.data.labelled_files import HeaderCheck, LabelCode, read_numbers, read_pair
from context_agg.data.labelled_parts import LabelledParts
from context_agg.data.spec import VOID
from context_agg.data.voc2012 import voc2012_parts

EVERY = 0  # the label of all numbers, where classes have no names; 255 would be void
SPLIT = 0.15, 0.15, 0  # shares and seed of the split of images/ and masks/, as in conf/
HELD_OUT = 0.1, 0  # share and seed of the split of VOC and Cityscapes, as in conf/

PUBLISHED: Mapping[str, Callable[[Path], LabelledParts]] = {
    "CamVid": lambda folder: camvid_parts(folder / "CamVid"),
    "trainannot": camvid_parts,
    "VOCdevkit": lambda folder: voc2012_parts(folder, *HELD_OUT),
    "leftImg8bit": lambda folder: cityscapes_parts(folder, *HELD_OUT),
}
"""How to find the files of a published data set, by the folder that its own folder holds."""


@dataclass
class Survey:
    """What the files of a data set hold.

    Args:
        parts: the files.
    """

    parts: LabelledParts
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How many images have each width and height."""
    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """How many pixels of the masks have each number."""
    images: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """In how many masks each number occurs."""
    to_train_on: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """How many pixels of the masks to train on have each number."""
    turned: list[Path] = field(default_factory=list)
    """The images that are turned upright when they are read, as EXIF says."""
    problems: list[str] = field(default_factory=list)
    """What is wrong, a message for every file."""

    def read(self) -> None:
        """Reads all files."""
        self.problems += self.parts.problems
        check = HeaderCheck()
        for part, pairs in self.parts.files.items():
            for image, mask in pairs:
                try:
                    height, width = check(image, mask)
                    self.sizes[width, height] += 1
                    self._count(mask, to_train_on=part in ("train", "all"))
                    read_pair(image, mask, self.parts.code)
                    if is_turned(image):
                        self.turned.append(image)
                except (OSError, ValueError) as error:
                    self.problems.append(str(error))

    def absent(self) -> list[str]:
        """The classes of which no mask to train on has a pixel, a message for each.

        The masks to validate and to test may lack a class.
        """
        labels, classes = self.parts.code.labels, self.parts.classes
        return [
            f"no mask to train on holds the number {number}, {classes[label]}"
            for number, label in labels.items()
            if classes and label != VOID and not self.to_train_on[number]
        ]

    def check_split(self) -> None:
        """Refuses images that are too few for the split, if they have no folders for the parts.

        Raises:
            ValueError: as `folder_split`.
        """
        folder_split(self.parts, *SPLIT)

    def _count(self, mask: Path, *, to_train_on: bool) -> None:
        numbers, _ = read_numbers(mask)
        if numbers.min() >= 0 and numbers.max() < 256:
            counts = np.bincount(numbers.ravel(), minlength=256)
            self.pixels += counts
            self.images += counts > 0
            self.to_train_on += counts * to_train_on


def find_parts(folder: Path, classes: Sequence[str], ignore: int) -> LabelledParts:
    """Finds the files of a data set in the layout that a folder has.

    Args:
        folder: one that holds images/ and masks/, or a data set in its published layout.
        classes: names of the classes of images/ and masks/; without them every number is a label.
        ignore: number of the pixels of images/ and masks/ that do not count.

    Raises:
        OSError: if it is no folder, or has none of these layouts.
        ValueError: for classes of a data set that has its own.
    """
    check_folder(folder)
    if (folder / "images").is_dir():
        if classes:
            return folder_parts(folder, label_code(classes, ignore), classes)
        check_byte("ignore", ignore, 0)
        every = {number: EVERY for number in range(256)} | {ignore: VOID}
        return folder_parts(folder, LabelCode(every, ""), ())
    inside = next((name for name in PUBLISHED if (folder / name).is_dir()), None)
    if inside is None:
        holds = "holds no images/ and masks/" if any(folder.iterdir()) else "is an empty folder"
        raise FileNotFoundError(
            f"{folder} {holds}; name one with images/ and masks/, or with CamVid/ (trainannot/), "
            "VOCdevkit/ or leftImg8bit/"
        )
    if classes:
        raise ValueError(
            f"--classes: the data set in {folder}, which holds {inside}/, has classes of its own; "
            "leave --classes out"
        )
    return PUBLISHED[inside](folder)
