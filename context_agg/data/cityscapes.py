"""Cityscapes, trained on its 19 classes for evaluation, in torchvision's layout."""

from pathlib import Path
from typing import Any

from torchvision.datasets import Cityscapes

from context_agg.data.images import ImageData
from context_agg.data.labelled_files import Files, LabelCode
from context_agg.data.labelled_parts import LabelledParts, split
from context_agg.data.spec import VOID

COUNTED = {kind.id: kind for kind in Cityscapes.classes if kind.id >= 0 and not kind.ignore_in_eval}
CLASSES = tuple(kind.name for kind in sorted(COUNTED.values(), key=lambda kind: kind.train_id))
CODE = LabelCode(
    {kind.id: VOID for kind in Cityscapes.classes if kind.id >= 0}
    | {255: VOID}  # the licence plates, whose number -1 does not fit into a byte
    | {number: kind.train_id for number, kind in COUNTED.items()},
    "take the files ..._gtFine_labelIds.png as they were published",
)


def load_cityscapes(*, root: str, validation: float, split_seed: int, **options: Any) -> ImageData:
    """Reads Cityscapes: 2,975 images to learn from, and 500 published ones to test.

    The masks of its test set are not public, so the test is on its validation set. What is held out
    during training is split from its training set.

    Args:
        root: folder that holds leftImg8bit/ and gtFine/, as in torchvision.
        validation: share of the training images that is held out.
        split_seed: seed of that split.
        options: those of `LabelledParts.load`.

    Raises:
        OSError: if a folder or a file is not there.
        ValueError: if a file is damaged; for an option that is not valid.
    """
    parts = cityscapes_parts(Path(root), validation, split_seed)
    return parts.load(**options)


def cityscapes_parts(root: Path, validation: float, split_seed: int) -> LabelledParts:
    """Finds the files of Cityscapes.

    Raises:
        FileNotFoundError: if they are not there.
        ValueError: for a share that leaves a part without images.
    """
    files = {
        **split(_files(root, "train"), {"val": validation}, split_seed),
        "test": _files(root, "val"),
    }
    return LabelledParts("Cityscapes", files, (), CODE, CLASSES)


def _files(root: Path, part: str) -> list[Files]:
    try:
        found = Cityscapes(root, part, mode="fine", target_type="semantic")
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"there is no {root}/leftImg8bit/{part} or no {root}/gtFine/{part}; name the folder "
            "that holds both with data.root=DIR; Cityscapes comes from www.cityscapes-dataset.com"
        ) from error
    targets = (mask for (mask,) in found.targets)
    pairs = zip(map(Path, found.images), map(Path, targets), strict=True)
    return sorted(pairs)  # torchvision lists them as the disk does
