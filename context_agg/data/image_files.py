"""Reads a user's image file and makes it look like the images that a network was trained on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile
from torch import Tensor

from context_agg.data.spec import DataSpec

Grey = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
MOST_PIXELS = 100_000_000  # in a file; decoded, a pixel takes up to 4 bytes
ORDINARY_PIXELS = 16_000_000  # classification reduces larger images; a phone's usually have 12
LEAST_CONTRAST = 16  # of 256 grey levels; an image with less counts as blank
FULL_CONTRAST = 200  # grey levels; every image of MNIST and of digits has 214 or more
FEWEST_PIXELS = 25  # of ink; every digit of MNIST has 27 or more
SHORTEST = 8  # pixels; what is smaller both ways is hardly more than a dot
NOISE = 0.2  # share of the contrast; anything fainter is paper, not ink
TURNED = range(2, 9)  # orientations in EXIF that are not upright
SIDEWAYS = (5, 6, 7, 8)  # those that exchange width and height
STRIP = 2**20  # pixels that are converted at a time, because conversions take memory
FORMS = {1: "L", 3: "RGB"}  # Pillow's mode for each number of channels
MODES = {
    "1": "black and white",
    "L": "grey",
    "RGB": "colour",
    "RGBA": "colour with transparency",
    "LA": "grey with transparency",
    "I;16": "16-bit grey",
    "I": "32-bit grey",
    "F": "grey with decimals",
}


def image_size(file: Path) -> tuple[int, int]:
    """Reads the width and height of an image from its header, turned as its camera says.

    Raises:
        OSError, ValueError: if it cannot be read, or has more than `MOST_PIXELS`.
    """
    with opened(file) as image:
        # not the PNG's own getexif, which would read all pixels
        sideways = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in SIDEWAYS
        width, height = image.size
        if isinstance(image, TiffImageFile):  # whose size some versions of Pillow have turned
            width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
        return (height, width) if sideways else (width, height)


def is_turned(file: Path) -> bool:
    """Whether an image is turned or mirrored when it is read, as its orientation in EXIF says.

    Raises:
        OSError, ValueError: if it cannot be read, or has more than `MOST_PIXELS`.
    """
    with opened(file) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in TURNED


def read_image(file: Path, spec: DataSpec) -> tuple[Tensor, str]:
    """Reads an image in the style of a data set, and says in words what was done to it.

    It is converted to the channels of the data set and scaled to its size. If the data set shows
    ink, an image of the right size that is light on black with full contrast is taken as it is. Any
    other is made light on dark, cropped to its content, scaled to the data set's size less its
    margin, and centred by its centre of mass, as in MNIST. An image of more than `ORDINARY_PIXELS`
    is reduced by a whole factor first.

    Returns:
        The image, uint8 (C, H, W), and the description.

    Raises:
        OSError, ValueError: if it cannot be read, has more than `MOST_PIXELS`, or should show ink
            and is blank.
    """
    image, read_as = _read(file, FORMS[spec.in_channels], ORDINARY_PIXELS)
    return _ink_image(file, image, read_as, spec) if spec.ink else _scaled(image, read_as, spec)


def _scaled(image: Image.Image, read_as: str, spec: DataSpec) -> tuple[Tensor, str]:
    """The image at the size of the data set, whatever its shape was."""
    height, width = spec.image_size
    if image.size == (width, height):
        return _tensor(image), read_as
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    return _tensor(image), f"{read_as}, scaled to {width}x{height}"


def _ink_image(file: Path, image: Image.Image, read_as: str, spec: DataSpec) -> tuple[Tensor, str]:
    """The image as those of MNIST were prepared."""
    background, strongest = _background_and_ink(image, *_extremes(file, image))
    ink = _ink_of_levels(background, strongest)
    ink[ink < NOISE] = 0
    marked = image.point([255 * int(level > 0) for level in ink])
    box = marked.getbbox()
    assert box is not None  # the strongest ink is marked
    done = [read_as]
    if image.size[::-1] == spec.image_size and background == 0 and strongest >= FULL_CONTRAST:
        done.append("light on dark, taken as it is")
        pixels = np.array(image)
    else:
        done.append("dark on light, inverted" if strongest < background else "light on dark")
        cut = (255 * ink).astype(np.float32)[np.asarray(image.crop(box))]
        pixels = _place(Image.fromarray(cut), box[:2], spec, done)
    count, longer = marked.histogram()[255], max(box[2] - box[0], box[3] - box[1])
    if count < FEWEST_PIXELS or longer < SHORTEST:
        done.append(f"pixels of ink: only {count}, so the classes mean little")
    return torch.from_numpy(pixels)[None], ", ".join(done)


def read_scene(file: Path, spec: DataSpec) -> tuple[Tensor, str]:
    """Reads an image for dense prediction at its own size, and says in words what was done to it.

    It is converted to the channels of the data set. If that shows ink, the image is made light on
    dark, with the background at 0 and the strongest ink at 255.

    Returns:
        The image, uint8 (C, H, W), and the description.

    Raises:
        OSError, ValueError: if it cannot be read, has more than `MOST_PIXELS`, or should show ink
            and is blank.
    """
    image, read_as = _read(file, FORMS[spec.in_channels])
    done = [read_as]
    if spec.ink:
        background, strongest = _background_and_ink(image, *_extremes(file, image))
        if strongest < background:
            done.append("dark on light, inverted")
        if (background, strongest) not in ((0, 255), (255, 0)):
            done.append(f"levels {background:.0f} to {strongest} stretched")
        stretched = (255 * _ink_of_levels(background, strongest)).round()
        image = image.point(stretched.astype(int).tolist())
    return _tensor(image), ", ".join(done)


def read_colour(file: Path) -> Tensor:
    """Reads an image in colour at its own size, uint8 (3, H, W).

    Raises:
        OSError, ValueError: if it cannot be read, or has more than `MOST_PIXELS`.
    """
    image, _ = _read(file, "RGB")
    return torch.from_numpy(np.array(image)).movedim(-1, 0).contiguous()


@contextmanager
def opened(file: Path) -> Iterator[Image.Image]:
    """Opens an image without decoding its pixels; names the file in whatever goes wrong."""
    try:
        pillows_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours says the size
        try:
            image = Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = pillows_limit
        with image:
            if image.width * image.height > MOST_PIXELS:
                raise ValueError(
                    f"its {image.width}x{image.height} pixels are more than "
                    f"{MOST_PIXELS // 10**6} million, the limit; scale it down or cut it"
                )
            yield image
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {file}") from None
    except IsADirectoryError:
        raise IsADirectoryError(f"{file} is a folder; name image files") from None
    except UnidentifiedImageError:
        what = "not an image, or its format is not supported" if file.stat().st_size else "empty"
        raise ValueError(f"{file} is {what}") from None
    except Exception as error:  # Pillow's decoders raise many kinds for a damaged file
        raise ValueError(
            f"cannot read {file}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _tensor(image: Image.Image) -> Tensor:
    """The pixels, uint8 (C, H, W)."""
    pixels = np.array(image).reshape(image.height, image.width, -1)
    return torch.from_numpy(pixels).movedim(-1, 0)


def _read(file: Path, form: str, most: int = MOST_PIXELS) -> tuple[Image.Image, str]:
    """Reads an image as "L" or "RGB", at most `most` pixels of it, and says what it was."""
    with opened(file) as image:
        pixels = image.width * image.height
        if pixels > most:  # only a JPEG can be decoded at a smaller size; others ignore this
            factor = _factor(image, most)
            image.draft(None, (image.width // factor, image.height // factor))
        image.load()
        convert, described = _conversion(image, form)
        if form == "L" and "grey" not in described:
            described += ", made grey"
        factor = _factor(image, most)
        read = Image.new(form, (ceil(image.width / factor), ceil(image.height / factor)))
        for top, strip in _strips(image, factor):
            read.paste(convert(strip).reduce(factor), (0, top // factor))
        turned = ExifTags.Base.Orientation  # obeyed after reducing, because turning takes a copy
        read.getexif()[turned] = image.getexif().get(turned, 1)
        ImageOps.exif_transpose(read, in_place=True)
    if pixels > most:
        described += f", reduced from {pixels / 1e6:.0f} million pixels"
    return read, f"{read.width}x{read.height} {described}"


def _factor(image: Image.Image, most: int) -> int:
    """The least whole number that reduces the image to `most` pixels."""
    return ceil(sqrt(image.width * image.height / most))


def _strips(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Cuts an image into strips whose heights are multiples of a factor."""
    rows = factor * ceil(STRIP / image.width / factor)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _conversion(image: Image.Image, form: str) -> tuple[Callable[[Image.Image], Image.Image], str]:
    """How to convert a strip of an image to "L" or "RGB", and what kind of image it is."""
    mode = MODES.get(image.mode, image.mode)
    if image.mode[0] in "IF":  # 16 bits, 32 bits, or decimals, which Pillow would clip
        strips = (np.asarray(strip) for _, strip in _strips(image))
        extremes = np.array([(values.min(), values.max()) for values in strips], np.float64)
        if not np.isfinite(extremes).all():
            raise ValueError("it has values that are not finite numbers")
        low, high = extremes[:, 0].min(), extremes[:, 1].max()
        start = low if image.mode == "F" else min(low, 0)  # decimals may have any range
        scale = 255 / ((high - start) or 1)
        return lambda strip: _bytes(strip, start, scale).convert(form), (
            f"{mode}, values {low:g} to {high:g}"
        )
    if not image.has_transparency_data:
        return lambda strip: strip.convert(form), mode
    if _is_light(image):
        return lambda strip: _on("black", strip).convert(form), f"{mode}, light, shown on black"
    return lambda strip: _on("white", strip).convert(form), mode  # as in most viewers


def _is_light(image: Image.Image) -> bool:
    """Whether an image has transparent parts, and nothing dark that can be seen on white."""
    darkest = opacity = 255
    for _, strip in _strips(image):
        opacity = min(opacity, int(np.asarray(strip.convert("RGBA").getchannel("A")).min()))
        darkest = min(darkest, int(np.asarray(_on("white", strip).convert("L")).min()))
    return opacity < 255 and darkest >= 128


def _bytes(strip: Image.Image, start: float, scale: float) -> Image.Image:
    levels = (np.asarray(strip, np.float64) - start) * scale
    return Image.fromarray(levels.round().astype(np.uint8))


def _on(background: str, strip: Image.Image) -> Image.Image:
    strip = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", strip.size, background), strip)


def _extremes(file: Path, image: Image.Image) -> tuple[int, int]:
    """The least and the greatest level; refuses an image that is blank."""
    levels = np.asarray(image)
    low, high = int(levels.min()), int(levels.max())
    if high - low < LEAST_CONTRAST:
        raise ValueError(f"{file} is blank: its levels are {low} to {high} of 255")
    return low, high


def _background_and_ink(image: Image.Image, low: int, high: int) -> tuple[float, int]:
    """The level of the background, and of the strongest ink on it."""
    grey = np.asarray(image)
    background = float(np.median(np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])))
    return background, high if high - background >= background - low else low


def _ink_of_levels(background: float, strongest: int) -> Grey:
    """The ink, 0 to 1, that each of the 256 grey levels stands for."""
    return ((np.arange(256) - background) / (strongest - background)).clip(0, 1)


def _place(cut: Image.Image, at: tuple[int, int], spec: DataSpec, done: list[str]) -> Bytes:
    """Places ink that was cut out in an image of the data set's size."""
    height, width = spec.image_size
    factor = min((height - 2 * spec.margin) / cut.height, (width - 2 * spec.margin) / cut.width)
    size = max(1, round(factor * cut.height)), max(1, round(factor * cut.width))
    pixels = np.array(cut.resize(size[::-1], Image.Resampling.BOX), dtype=np.float64)
    pixels *= 255 / pixels.max()  # shrinking makes thin lines faint
    placed = np.zeros(spec.image_size)
    y, x = (
        _start(pixels.sum(axis), whole) for axis, whole in zip((1, 0), spec.image_size, strict=True)
    )
    placed[y : y + size[0], x : x + size[1]] = pixels
    done.append(
        f"cut to {cut.width}x{cut.height} at {at}, scaled to {size[1]}x{size[0]}, "
        f"centred in {width}x{height}"
    )
    return placed.round().clip(0, 255).astype(np.uint8)


def _start(profile: Grey, whole: int) -> int:
    """Where a part must start so that its centre of mass is in the middle of the whole."""
    centre = float(profile @ (np.arange(len(profile)) + 0.5) / profile.sum())
    return int(np.clip(round(whole / 2 - centre), 0, whole - len(profile)))
