"""Writes pixel labels as image files: the classes, and an overlay on the image with a legend."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from context_agg.data.legend import with_legend
from context_agg.data.palette import has_background, palette

OPACITY = 0.6  # of a class on the image


def overlay_of(image: Tensor, labels: Tensor, classes: Sequence[str]) -> Image.Image:
    """Colours an image by its labels; the background, if there is one, stays as it is.

    Shape: image (C, H, W), labels (H, W), both uint8.
    """
    photo = Image.fromarray(image.expand(3, -1, -1).movedim(0, -1).numpy())
    overlay = Image.blend(photo, _coloured(labels, classes).convert("RGB"), OPACITY)
    if has_background(classes):
        overlay.paste(photo, mask=Image.fromarray(labels.numpy()).point([255] + 255 * [0]))
    return overlay


def write_labels(
    file: Path, labels: Tensor, overlay: Image.Image, classes: Sequence[str]
) -> list[Path]:
    """Writes FILE_labels.png and FILE_overlay.png, and the folder; returns their paths.

    Below the overlay there is a legend of the classes that occur.

    Args:
        file: the path that both names begin with.
        labels: uint8 (H, W).
        overlay: as `overlay_of` makes it.
        classes: names of all classes.

    Raises:
        OSError: if they cannot be written; it names the file. None is left half-written.
    """
    pictures = {
        "labels": _coloured(labels, classes),
        "overlay": with_legend(overlay, classes, set(torch.unique(labels).tolist())),
    }
    written = []
    for kind, picture in pictures.items():
        written.append(file.with_name(f"{file.name}_{kind}.png"))
        write_picture(picture, written[-1])
    return written


def write_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG file, and its folder.

    Raises:
        OSError: if it cannot be written; it names the file. It is not left half-written.
    """
    unfinished = path.with_name(f"{path.name}.part")  # renamed when it is whole
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            picture.save(unfinished, "PNG")
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def _coloured(labels: Tensor, classes: Sequence[str]) -> Image.Image:
    """An image whose values are the labels, with a palette."""
    coloured = Image.fromarray(labels.numpy()).convert("P")
    coloured.putpalette(palette(classes).flatten().tolist())
    return coloured
