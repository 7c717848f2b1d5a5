"""Reads a user's image file and makes it look like the images that a network was trained on."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from context_agg.data.spec import DataSpec

Grey = npt.NDArray[np.float64]
LEAST_CONTRAST = 16  # of 256 grey levels; an image with less counts as blank
MODES = {"1": "black and white", "L": "grey", "RGB": "colour", "RGBA": "colour with transparency"}
NOISE = 0.2  # share of the contrast; anything fainter is paper, not ink


def read_image(file: Path, spec: DataSpec) -> tuple[Tensor, str]:
    """Reads an image in the style of a grey data set, and says in words what was done to it.

    An image of the right size that is light on dark is taken as it is. Any other is made grey and
    light on dark, cropped to its content, scaled to the data set's size less its margin, and
    centred by its centre of mass, as in MNIST.

    Returns:
        The image, uint8 (1, H, W), and the description.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image, or is blank.
    """
    image, mode = _open(file)
    grey = np.asarray(image, dtype=np.float64)
    done = [f"{grey.shape[1]}x{grey.shape[0]} {mode}"]
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = float(np.median(border))
    low, high = grey.min(), grey.max()
    if high - low < LEAST_CONTRAST:
        raise ValueError(f"{file} is blank: its grey levels are {low:.0f} to {high:.0f} of 255")
    dark_on_light = background - low > high - background
    if not dark_on_light and grey.shape == spec.image_size:
        done.append("light on dark, taken as it is")
    else:
        done.append("dark on light, inverted" if dark_on_light else "light on dark")
        grey = _ink(background - grey if dark_on_light else grey - background)
        grey = _place(grey, spec, done)
    pixels = torch.from_numpy(grey.round().clip(0, 255).astype(np.uint8))
    return pixels[None], ", ".join(done)


def read_scene(file: Path, spec: DataSpec) -> tuple[Tensor, str]:
    """Reads an image for dense prediction at its own size, and says in words what was done to it.

    For a grey data set it is made grey and light on dark, with the background at 0 and the
    strongest ink at 255; for a colour data set it is converted to RGB.

    Returns:
        The image, uint8 (C, H, W), and the description.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image, or is blank.
    """
    image, mode = _open(file, "RGB" if spec.in_channels == 3 else "L")
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    done = [f"{image.width}x{image.height} {mode}"]
    low, high = int(pixels.min()), int(pixels.max())
    if high - low < LEAST_CONTRAST:
        raise ValueError(f"{file} is blank: its levels are {low} to {high} of 255")
    if spec.in_channels == 1:
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        background = float(np.median(border))
        strongest = high if high - background >= background - low else low
        if strongest < background:
            done.append("dark on light, inverted")
        if (background, strongest) not in ((0, 255), (255, 0)):
            done.append(f"levels {background:.0f} to {strongest} stretched")
        ink = (pixels - background) / (strongest - background)
        pixels = (255 * ink).clip(0, 255).round().astype(np.uint8)
    return torch.from_numpy(pixels.copy()).movedim(-1, 0), ", ".join(done)


def _open(file: Path, form: str = "L") -> tuple[Image.Image, str]:
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            mode = MODES.get(image.mode, image.mode)
            if image.mode.startswith("I"):  # 16 or 32 bits of grey, which "L" would clip
                values = np.asarray(image, dtype=np.float64)
                scaled = values * 255 / max(values.max(), 1)
                return Image.fromarray(scaled.astype(np.uint8)).convert(form), mode
            if image.has_transparency_data:  # shown on white, as in most viewers
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert(form), mode
    except UnidentifiedImageError:
        raise ValueError(f"{file} is not an image, or its format is not supported") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {file}") from None
    except OSError as error:  # a folder, or a truncated image
        raise OSError(f"cannot read {file}: {error.strerror or error}") from None


def _ink(grey: Grey) -> Grey:
    """Scales grey levels to 0 for the background and 255 for the strongest ink."""
    ink = (grey / grey.max()).clip(0, 1)
    return np.where(ink < NOISE, 0, ink * 255)


def _place(ink: Grey, spec: DataSpec, done: list[str]) -> Grey:
    """Crops the ink and places it in an image of the data set's size."""
    rows, columns = (np.flatnonzero(ink.max(axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    cut = ink[top : rows[-1] + 1, left : columns[-1] + 1]
    height, width = spec.image_size
    factor = min(
        (height - 2 * spec.margin) / cut.shape[0], (width - 2 * spec.margin) / cut.shape[1]
    )
    size = max(1, round(factor * cut.shape[0])), max(1, round(factor * cut.shape[1]))
    scaled = Image.fromarray(cut.astype(np.float32)).resize(size[::-1], Image.Resampling.BOX)
    pixels = np.array(scaled, dtype=np.float64)
    pixels *= 255 / pixels.max()  # shrinking makes thin lines faint
    placed = np.zeros(spec.image_size)
    y, x = (
        _start(pixels.sum(axis), whole) for axis, whole in zip((1, 0), spec.image_size, strict=True)
    )
    placed[y : y + size[0], x : x + size[1]] = pixels
    done.append(
        f"cut to {cut.shape[1]}x{cut.shape[0]} at ({left}, {top}), scaled to {size[1]}x{size[0]}, "
        f"centred in {width}x{height}"
    )
    return placed


def _start(profile: Grey, whole: int) -> int:
    """Where a part must start so that its centre of mass is in the middle of the whole."""
    centre = float(profile @ (np.arange(len(profile)) + 0.5) / profile.sum())
    return int(np.clip(round(whole / 2 - centre), 0, whole - len(profile)))
