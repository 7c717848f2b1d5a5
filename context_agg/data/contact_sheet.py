"""Contact sheets: many overlays on one page, with their names and one legend."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from context_agg.data.label_files import write_picture
from context_agg.data.legend import legend, letters

COLUMNS, ROWS = 5, 6  # of a page
SIDE = 240  # pixels of the longer side of a thumbnail
GAP = 12  # pixels around it
SIZE = 13  # height of the letters, in pixels


class ContactSheet:
    """Writes contact_sheet.png, contact_sheet_2.png, ..., each as soon as it is full.

    Args:
        folder: where.
        classes: names of the classes.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder = folder
        self.classes = classes
        self.pages = 0
        self.cells: list[Image.Image] = []
        self.occurring: set[int] = set()

    def add(self, name: str, overlay: Image.Image, occurring: set[int]) -> list[Path]:
        """Adds an overlay; returns the page that was full before, now written, if there is one.

        Raises:
            OSError: if that page cannot be written; the overlay has been added to the next.
        """
        full = len(self.cells) == COLUMNS * ROWS
        page = self._take_page() if full else None
        self.cells.append(_cell(name, overlay))
        self.occurring |= occurring
        return self._write(page) if page else []

    def finish(self) -> list[Path]:
        """Writes the last page, if there is one; deletes those that an earlier call had beyond it.

        Raises:
            OSError: if it cannot be written, or one of those not be deleted.
        """
        written = self._write(self._take_page()) if self.cells else []
        number = self.pages + 1
        while (stale := self._page(number)).is_file():
            stale.unlink()
            number += 1
        return written

    def _take_page(self) -> Image.Image:
        columns = min(COLUMNS, len(self.cells))
        width = GAP + columns * (SIDE + GAP)
        labels = sorted(self.occurring)
        below = legend(self.classes, labels, labels, width, SIZE)
        rows = [self.cells[n : n + COLUMNS] for n in range(0, len(self.cells), COLUMNS)]
        heights = [GAP + max(cell.height for cell in row) for row in rows]
        page = Image.new("RGB", (below.width, sum(heights) + GAP + below.height), "white")
        for number, row in enumerate(rows):
            for column, cell in enumerate(row):
                page.paste(cell, (GAP + column * (SIDE + GAP), GAP + sum(heights[:number])))
        page.paste(below, (0, sum(heights) + GAP))
        self.pages += 1
        self.cells, self.occurring = [], set()
        return page

    def _write(self, page: Image.Image) -> list[Path]:
        path = self._page(self.pages)
        write_picture(page, path)
        return [path]

    def _page(self, number: int) -> Path:
        return self.folder / ("contact_sheet.png" if number == 1 else f"contact_sheet_{number}.png")


def _cell(name: str, overlay: Image.Image) -> Image.Image:
    """A thumbnail with a name below it, `SIDE` wide."""
    thumbnail = ImageOps.contain(overlay, (SIDE, SIDE))
    cell = Image.new("RGB", (SIDE, thumbnail.height + 2 * SIZE), "white")
    cell.paste(thumbnail, ((SIDE - thumbnail.width) // 2, 0))
    font = letters(SIZE)
    place = (SIDE / 2, thumbnail.height + SIZE)
    ImageDraw.Draw(cell).text(place, _shortened(name, font), "black", font, "mm")
    return cell


def _shortened(name: str, font: ImageFont.FreeTypeFont) -> str:
    """A name that fits below a thumbnail; its end, where frames have their number, is kept."""
    text = " ".join(name.encode(errors="replace").decode().split())
    kept = text
    while font.getlength(kept) > SIDE:
        text = text[1:]
        kept = f"…{text}"
    return kept
