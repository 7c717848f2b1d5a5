"""The images of a folder, such as the frames of a video, in the order that their numbers say."""

import re
from pathlib import Path

from context_agg.data.labelled_files import SUFFIXES


def images_in(folder: Path) -> list[Path]:
    """The image files of a folder, without those of folders in it: frame2 before frame10.

    Raises:
        OSError: if it holds none, or cannot be read.
    """
    found = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]
    if not found:
        raise FileNotFoundError(f"{folder} holds no images ({', '.join(SUFFIXES)})")
    return sorted(found, key=_order)


def _order(file: Path) -> tuple[list[str | int], str]:
    """Words and numbers by turns; names that differ in leading zeros only, as letters."""
    parts = re.split(r"([0-9]+)", file.name)
    return [int(part) if n % 2 else part for n, part in enumerate(parts)], file.name
