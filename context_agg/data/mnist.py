"""MNIST and Fashion-MNIST from torchvision; the files are checked before they are read."""

import os
from contextlib import suppress
from math import prod
from pathlib import Path

import numpy as np
from torchvision import datasets

from context_agg.data.augment import RandomAffine
from context_agg.data.batches import Images
from context_agg.data.images import ImageData, check_loading, stratified_split
from context_agg.ops.checks import check_choice

MARGINS = {"MNIST": 4, "FashionMNIST": 0}  # empty border around the object, in pixels
SIDE = 28  # of an image, in pixels
VALIDATION_IMAGES = 5000
IMAGE_MAGIC = 2051  # bytes on three axes
LABEL_MAGIC = 2049  # bytes on one axis


def load_mnist(
    *,
    name: str,
    root: str,
    batch_size: int,
    shift: int,
    held_out: str,
    seed: int,
    rotate: float = 0.0,
    zoom: float = 0.0,
) -> ImageData:
    """70,000 grey images of 28x28 pixels in ten classes.

    The split is fixed and stratified: 55,000 training, 5,000 validation and 10,000 test images.

    Args:
        name: "MNIST" or "FashionMNIST".
        root: folder that holds NAME/raw/, as in torchvision; missing files are downloaded to it.
        batch_size: images in a batch.
        shift: the largest random shift of training images, in pixels; less than their side.
        rotate: the largest random rotation, in degrees; at most 180.
        zoom: the random scale factor is between 1 / (1 + zoom) and 1 + zoom; at most 10.
        held_out: "validation" or "test".
        seed: seed of the order and of the random changes of the training images.

    Raises:
        OSError: if root is the wrong folder or a file, or missing files cannot be downloaded.
        ValueError: if a file is damaged, or for an unknown name.
    """
    check_loading(batch_size, held_out)
    augment = RandomAffine(shift, rotate, zoom, side=SIDE)
    train, validation, test = mnist_sets(name, root)
    words = getattr(datasets, name).classes  # "0 - zero"
    return ImageData(
        train,
        validation,
        test,
        name=name,
        classes=[word.partition(" - ")[0] for word in words],
        margin=MARGINS[name],
        ink=True,
        batch_size=batch_size,
        held_out=held_out,
        seed=seed,
        augment=augment,
    )


def mnist_sets(name: str, root: str) -> tuple[Images, Images, Images]:
    """The training, validation and test images, (N, 1, 28, 28), with their classes.

    Raises:
        OSError, ValueError: as `load_mnist`.
    """
    check_choice("name", name, tuple(MARGINS))
    if not isinstance(root, str) or not root:
        raise ValueError(f"root={root!r} must be a folder")
    dataset = getattr(datasets, name)
    _check_root(Path(root), name)
    folder = Path(root) / name / "raw"
    files = [folder / Path(gz_name).stem for gz_name, _ in dataset.resources]
    if missing := [file.name for file in files if not file.is_file()]:
        _download(dataset, root, folder, missing)
    for file in files:
        _check_idx(file, IMAGE_MAGIC if "images" in file.name else LABEL_MAGIC)
    rest, test = (_read(dataset(root, train=train)) for train in (True, False))
    return *stratified_split(*rest, VALIDATION_IMAGES), test


def _check_root(root: Path, name: str) -> None:
    if root.is_file():
        raise NotADirectoryError(f"root={root} is a file; name the folder that holds {name}/raw")
    for inside in (root / "raw", root / "train-images-idx3-ubyte"):
        if inside.exists():
            above = root.parent if inside.name == "raw" else root.parent.parent
            raise FileNotFoundError(f"root={root} is one folder too deep; use data.root={above}")


def _read(dataset: datasets.MNIST) -> Images:
    return dataset.data[:, None], dataset.targets


def _download(dataset: type[datasets.MNIST], root: str, folder: Path, missing: list[str]) -> None:
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    print(f"{', '.join(missing)} missing in {folder}: downloading")
    try:
        dataset(root, download=True)
    except (RuntimeError, OSError) as error:
        for path in created:
            with suppress(OSError):  # not empty: completely downloaded files are kept
                path.rmdir()
        raise FileNotFoundError(
            f"{', '.join(missing)} missing in {folder}, and the download failed "
            f"({str(error).splitlines()[-1]}). Put the files there, extracted or as .gz, or name "
            "the folder that holds them with data.root=DIR or the environment variable "
            "CONTEXT_AGG_DATA; or run without them, with data=digits"
        ) from error


def _check_idx(file: Path, magic: int) -> None:
    """Checks that a file's header and size are those of an idx file of its kind."""
    axes = 3 if magic == IMAGE_MAGIC else 1
    header = np.fromfile(file, dtype=">i4", count=1 + axes).tolist()
    size = os.path.getsize(file)
    way_out = "delete it and its .gz, and run again to download it"
    if header[:1] != [magic]:
        start = f"starts with magic number {header[0]}" if header else "is empty"
        kind = "image" if magic == IMAGE_MAGIC else "label"
        raise ValueError(f"{file} {start}, not {magic}: it is not an MNIST {kind} file; {way_out}")
    header_size = 4 * (1 + axes)
    if size < header_size or size != header_size + prod(header[1:]):
        raise ValueError(f"{file} is damaged: {size:,} bytes do not match its header; {way_out}")
