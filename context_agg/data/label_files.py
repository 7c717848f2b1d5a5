"""Writes pixel labels as image files: the classes, and an overlay on the image."""

from pathlib import Path

from PIL import Image
from torch import Tensor

from context_agg.data.palette import palette

OPACITY = 0.6  # of a class on the image; the background, class 0, is not shown


def write_labels(file: Path, image: Tensor, labels: Tensor, num_classes: int) -> list[Path]:
    """Writes FILE_labels.png and FILE_overlay.png, and the folder; returns their paths.

    Shape: image (C, H, W), labels (H, W), both uint8.

    Raises:
        OSError: if they cannot be written; it names the file. None is left half-written.
    """
    classes = Image.fromarray(labels.numpy())
    coloured = classes.convert("P")
    coloured.putpalette(palette(num_classes).flatten().tolist())
    photo = Image.fromarray(image.expand(3, -1, -1).movedim(0, -1).numpy())
    overlay = Image.blend(photo, coloured.convert("RGB"), OPACITY)
    overlay.paste(photo, mask=classes.point([255] + 255 * [0]))
    written = [file.with_name(f"{file.name}_{kind}.png") for kind in ("labels", "overlay")]
    for picture, path in zip((coloured, overlay), written, strict=True):
        _write(picture, path)
    return written


def _write(picture: Image.Image, path: Path) -> None:
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
