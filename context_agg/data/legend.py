"""Draws which colour stands for which class."""

from collections.abc import Container, Sequence
from math import ceil
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from context_agg.data.palette import has_background, palette

FEWEST_LETTERS = 20  # that fit beside each other below the smallest picture
SMALLEST = 12  # height of the letters, in pixels


def letters(size: int) -> ImageFont.FreeTypeFont:
    """Letters of Latin, Greek and Cyrillic, so many pixels high; they come with matplotlib."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def with_legend(
    picture: Image.Image, classes: Sequence[str], occurring: Container[int]
) -> Image.Image:
    """Puts a legend of the classes that occur below a picture.

    Every class has its place, even if it is not drawn: so pictures of one size, such as the frames
    of a video, stay of one size, and no name jumps from one to the next.
    """
    size = max(SMALLEST, picture.width // 60)
    width = max(picture.width, FEWEST_LETTERS * size)
    below = legend(classes, range(len(classes)), occurring, width, size)
    both = Image.new("RGB", (below.width, picture.height + below.height), "white")
    both.paste(picture)
    both.paste(below, (0, picture.height))
    return both


def legend(
    classes: Sequence[str], places: Sequence[int], occurring: Container[int], width: int, size: int
) -> Image.Image:
    """Draws a box and a name for each class that occurs; that of the background is empty.

    Args:
        classes: names of all classes.
        places: the classes for which there is a place, in order.
        occurring: the classes that are drawn.
        width: of the drawing, in pixels; it is more where one name needs more.
        size: height of the letters, in pixels.
    """
    font, gap, line = letters(size), size // 2, ceil(1.5 * size)
    names = {label: " ".join(classes[label].split()) for label in places}
    column = size + 3 * gap + ceil(max(font.getlength(name) for name in names.values()))
    columns = max(1, (width - gap) // column)
    rows = ceil(len(places) / columns)
    drawn = Image.new("RGB", (max(width, gap + column), rows * line + gap), "white")
    pen, colours = ImageDraw.Draw(drawn), palette(classes).tolist()
    for place, label in enumerate(places):
        if label in occurring:
            x, y = gap + place % columns * column, gap + place // columns * line
            uncoloured = label == 0 and has_background(classes)  # in an overlay
            colour = None if uncoloured else tuple(colours[label])
            pen.rectangle((x, y, x + size - 1, y + size - 1), colour, "black")
            pen.text((x + size + gap, y + size // 2), names[label], "black", font, "lm")
    return drawn
