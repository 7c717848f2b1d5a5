"""A user's own data: a folder with images/ and masks/, split by folders or at random."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from context_agg.cli.places import check_folder
from context_agg.data.images import ImageData
from context_agg.data.labelled_files import LabelCode, find_pairs
from context_agg.data.labelled_parts import PARTS, LabelledParts, parts_in, split
from context_agg.data.spec import VOID
from context_agg.ops.checks import check_whole


def load_folder(
    *,
    root: str,
    classes: Sequence[str],
    ignore: int,
    validation: float,
    test: float,
    split_seed: int,
    **options: Any,
) -> ImageData:
    """Reads images and masks; a mask has the name of its image, up to the ending.

    Args:
        root: folder that holds images/ and masks/. Both hold train/, val/ and test/; else the files
            in them are split at random.
        classes: names of the classes; the first is 0 in the masks.
        ignore: the number of pixels that do not count.
        validation: share of the images for validation, if they are split at random.
        test: share of the images for the test, if they are split at random.
        split_seed: seed of the split, which depends on it and on the names of the images alone.
        options: those of `LabelledParts.load`.

    Raises:
        OSError: if a folder or a file is not there.
        ValueError: if a file is damaged, or an image and its mask do not fit together; for an
            option that is not valid.
    """
    if not root:
        raise ValueError("root='' must be the folder of your images/ and masks/: data.root=DIR")
    parts = folder_parts(Path(root), label_code(classes, ignore), classes)
    parts.check_partners()  # before the split, which may lack pairs for the same reason
    return folder_split(parts, validation, test, split_seed).load(**options)


def label_code(classes: Sequence[str], ignore: int) -> LabelCode:
    """The numbers 0, 1, ... for the classes, and another for pixels that do not count.

    Raises:
        ValueError: for names that are not different words, or an `ignore` that is a class.
    """
    names = isinstance(classes, Sequence) and not isinstance(classes, str)
    names = names and all(isinstance(name, str) and name.isprintable() for name in classes)
    if not names or not 2 <= len(set(classes) - {""}) == len(classes) <= VOID:
        raise ValueError(
            f"classes={classes} must be a list of different names, 2 to {VOID} of them: "
            "data.classes=[road,car]"
        )
    check_byte("ignore", ignore, len(classes))
    way_out = (
        "correct the masks, name their classes in data.classes, or ignore another number with "
        "data.ignore"
    )
    if len(classes) == 2:
        way_out += "; two classes are 0 and 1 in the masks, not 0 and 255"
    return LabelCode({number: number for number in range(len(classes))} | {ignore: VOID}, way_out)


def check_byte(name: str, value: Any, least: int) -> None:
    """Rejects a value that is not a whole number from `least` to 255.

    Raises:
        ValueError: if so.
    """
    check_whole(name, value, least)
    if value > 255:
        raise ValueError(f"{name}={value} must be a byte, {least} to 255")


def folder_parts(root: Path, code: LabelCode, classes: Sequence[str]) -> LabelledParts:
    """Finds the files of a folder; they are one part, "all", if there is no train/, val/ or test/.

    Raises:
        OSError: if a folder is not there, or holds no images.
    """
    check_folder(root)
    images, masks = root / "images", root / "masks"
    if any((folder / part).is_dir() for folder in (images, masks) for part in PARTS):
        found = parts_in({part: (images / part, masks / part) for part in PARTS})
    else:
        pairs, problems = find_pairs(images, masks)
        found = {"all": pairs}, problems
    return LabelledParts(root.resolve().name or "folder", *found, code, classes)


def folder_split(
    parts: LabelledParts, validation: float, test: float, split_seed: int
) -> LabelledParts:
    """Splits the files of a folder at random, unless they lie in train/, val/ and test/.

    Raises:
        ValueError: for shares that leave a part without an image.
    """
    if parts.files.keys() != {"all"}:
        return parts
    shares = {"val": validation, "test": test}
    way_out = ", or sort images/ and masks/ into train/, val/ and test/ of their own"
    return replace(parts, files=split(parts.files["all"], shares, split_seed, way_out))
