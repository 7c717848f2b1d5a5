"""Writes files that are either complete under their name or not there."""

import os
from pathlib import Path

UNFINISHED = ".part"  # ends the name of a file that is being written


def write(file: Path, content: bytes | memoryview) -> None:
    """Writes a file, or replaces it; it is on the disk when this returns.

    Raises:
        OSError: if there is no room; the file is then as it was.
    """
    os.replace(stage(file, content), file)
    sync(file.parent)


def stage(file: Path, content: bytes | memoryview) -> Path:
    """Writes the content to the disk beside `file`; returns the name, for renaming it later.

    Raises:
        OSError: if there is no room; nothing is left behind then.
    """
    part = file.with_name(file.name + UNFINISHED)
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def sync(folder: Path) -> None:
    """Makes what was renamed in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
