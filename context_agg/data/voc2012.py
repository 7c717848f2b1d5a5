"""PASCAL VOC 2012, the data of the paper's main experiments, in torchvision's layout."""

from pathlib import Path
from typing import Any

from torchvision.datasets import VOCSegmentation

from context_agg.data.images import ImageData
from context_agg.data.labelled_files import Files, LabelCode
from context_agg.data.labelled_parts import LabelledParts, split
from context_agg.data.spec import VOID

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
CODE = LabelCode(
    {number: number for number in range(len(CLASSES))} | {255: VOID},
    "take the masks of SegmentationClass as they were published",
)


def load_voc2012(*, root: str, validation: float, split_seed: int, **options: Any) -> ImageData:
    """Reads VOC 2012: 1,464 images to learn from, and 1,449 published ones to test.

    The masks of its test set are not public, so the test is on its validation set. What is held out
    during training is split from its training set.

    Args:
        root: folder that holds VOCdevkit/VOC2012/, as in torchvision.
        validation: share of the training images that is held out.
        split_seed: seed of that split.
        options: those of `LabelledParts.load`.

    Raises:
        OSError: if the folder or a file is not there.
        ValueError: if a file is damaged; for an option that is not valid.
    """
    parts = voc2012_parts(Path(root), validation, split_seed)
    return parts.load(**options)


def voc2012_parts(root: Path, validation: float, split_seed: int) -> LabelledParts:
    """Finds the files of VOC 2012.

    Raises:
        FileNotFoundError: if they are not there.
        ValueError: for a share that leaves a part without images.
    """
    files = {
        **split(_files(root, "train"), {"val": validation}, split_seed),
        "test": _files(root, "val"),
    }
    return LabelledParts("VOC 2012", files, (), CODE, CLASSES)


def _files(root: Path, image_set: str) -> list[Files]:
    try:
        found = VOCSegmentation(root, "2012", image_set)
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(
            f"there is no {root}/VOCdevkit/VOC2012 with ImageSets/Segmentation/{image_set}.txt; "
            "name the folder that holds VOCdevkit with data.root=DIR, or fetch it (2 GB) with "
            f"torchvision.datasets.VOCSegmentation({str(root)!r}, download=True)"
        ) from error
    return [
        (Path(image), Path(mask)) for image, mask in zip(found.images, found.masks, strict=True)
    ]
