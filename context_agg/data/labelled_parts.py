"""Makes an ImageData of images and masks in files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from context_agg.data.images import ImageData, check_loading
from context_agg.data.labelled_files import Files, HeaderCheck, LabelCode, find_pairs, read_pair
from context_agg.data.pairs import PairDataset
from context_agg.data.spec import VOID
from context_agg.data.views import RandomView
from context_agg.ops.checks import check_number, check_whole

PARTS = ("train", "val", "test")
SHARES = {"val": "data.validation", "test": "data.test"}  # the key that sets the share of a part


@dataclass(frozen=True)
class LabelledParts:
    """The files of a data set with masks.

    Args:
        name: name of the data set, for messages.
        files: images and masks of each of `PARTS`.
        problems: what is wrong with other files.
        code: which number in a mask is which label.
        classes: names of the classes, in order.
    """

    name: str
    files: Mapping[str, Sequence[Files]]
    problems: Sequence[str]
    code: LabelCode
    classes: Sequence[str]

    def check_partners(self) -> None:
        """Rejects files that have no partner, or more than one.

        Raises:
            ValueError: for the first of `problems`.
        """
        if self.problems:
            raise ValueError(self.problems[0])

    def load(
        self,
        *,
        mirror: bool,
        zoom: float,
        crop: Sequence[int] | None,
        batch_size: int,
        held_out: str,
        memory: float,
        workers: int,
        seed: int,
    ) -> ImageData:
        """Looks at all files, and reads them if they fit into memory.

        In memory, every number in the masks is checked before the first step, and that they hold
        more than one class. What is read when it is needed is checked then.

        Args:
            mirror: whether half of the training images are mirrored.
            zoom: the scale factor of training images is between 1 / (1 + zoom) and 1 + zoom.
            crop: height and width of what is cut out of training images; None: the whole image.
            batch_size: images in a batch. Those to train on must have one size then, or `crop`;
                others are in one batch only with images of their size.
            held_out: "validation" or "test".
            memory: gigabytes that images and labels may take; else they are read when needed.
            workers: processes that read them then; 0: the one that trains.
            seed: seed of the order and of the random changes of the training images.

        Raises:
            OSError, ValueError: if a file is missing, damaged, or does not fit to its partner; for
                masks of one class only; for an option that is not valid.
        """
        check_loading(batch_size, held_out)
        view = RandomView(mirror=mirror, zoom=zoom, crop=crop)
        check_number("memory", memory, 0)
        self.check_partners()
        check = HeaderCheck()
        sizes = {part: [check(*pair) for pair in self.files[part]] for part in PARTS}
        if crop is None and batch_size > 1:
            trained = ("train", "val") if held_out == "test" else ("train",)
            _check_one_size(
                [pair for part in trained for pair in self.files[part]],
                [size for part in trained for size in sizes[part]],
            )
        pixels = sum(height * width for part in PARTS for height, width in sizes[part])
        fits = 4 * pixels <= memory * 1e9  # three bytes of colour, and one of label
        datasets = []
        for part in PARTS:
            readers = [partial(read_pair, *pair, self.code) for pair in self.files[part]]
            pairs = [read() for read in readers] if fits else readers
            datasets.append(PairDataset(pairs, sizes[part], view if part == "train" else None))
        data = ImageData(
            *datasets,
            name=self.name,
            classes=self.classes,
            dense=True,
            batch_size=batch_size,
            held_out=held_out,
            seed=seed,
            workers=workers,
        )
        if fits:
            self._check_classes(data.training_labels())
        return data

    def _check_classes(self, masks: Iterable[Tensor]) -> None:
        """Rejects masks to train on, labels (H, W) each, that hold one class only."""
        pixels = torch.zeros(VOID + 1, dtype=torch.int64)
        for labels in masks:
            pixels += torch.bincount(labels.flatten(), minlength=VOID + 1)
        occurring = pixels[:VOID].nonzero().flatten().tolist()
        if len(occurring) == 1:
            ignored = float(pixels[VOID] / pixels.sum())
            raise ValueError(
                f"{self.name}: the masks to train on hold one class only, "
                f"{self.classes[occurring[0]]}"
                + (f", and {ignored:.2%} of their pixels are ignored" if ignored else "")
                + f"; {self.code.way_out}"
            )


def parts_in(folders: Mapping[str, tuple[Path, Path]]) -> tuple[dict[str, list[Files]], list[str]]:
    """Finds the pairs of each part in its folder of images and its folder of masks.

    Returns:
        The pairs, and what is wrong with other files.

    Raises:
        FileNotFoundError: if a folder is not there, or holds no images.
    """
    found = {part: find_pairs(*pair) for part, pair in folders.items()}
    files = {part: pairs for part, (pairs, _) in found.items()}
    return files, [problem for _, problems in found.values() for problem in problems]


def split(
    files: Sequence[Files], shares: Mapping[str, float], seed: int, way_out: str = ""
) -> dict[str, list[Files]]:
    """Splits images at random into "train" and the parts that `shares` names, ordered by name.

    Args:
        files: images and their masks.
        shares: of the images, by part.
        seed: of the order.
        way_out: what else there is to do than to take other shares, if a part has no image.

    Raises:
        ValueError: for shares that leave a part without an image.
    """
    for part, share in shares.items():
        check_number(f"the share of {part}", share, 0, 1)
    check_whole("split_seed", seed, 0)
    sizes = {part: round(share * len(files)) for part, share in shares.items()}
    sizes = {"train": len(files) - sum(sizes.values()), **sizes}
    if min(sizes.values()) < 1:
        counts = ", ".join(f"{max(0, size)} for {part}" for part, size in sizes.items())
        given = " and ".join(f"{SHARES[part]}={share:g}" for part, share in shares.items())
        raise ValueError(
            f"with {given}, {len(files)} images are {counts}, but each part needs one; take other "
            f"shares or more images{way_out}"
        )
    order = np.random.default_rng(seed).permutation(len(files))
    bounds = np.split(order, np.cumsum(list(sizes.values()))[:-1])
    return {
        part: [files[number] for number in sorted(numbers.tolist())]
        for part, numbers in zip(sizes, bounds, strict=True)
    }


def _check_one_size(files: Sequence[Files], sizes: Sequence[tuple[int, int]]) -> None:
    for (file, _), size in zip(files, sizes, strict=True):
        if size != sizes[0]:
            one, two = (f"{width}x{height}" for height, width in (size, sizes[0]))
            raise ValueError(
                f"{file} has {one} pixels and {files[0][0]} {two}, so they cannot be in one batch; "
                "cut all to one size with data.crop=[H,W], or set data.batch_size=1"
            )
