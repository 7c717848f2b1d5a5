"""Writes files and folders that are either complete under their name or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Gives a folder to fill, which takes its name at the end; after an error nothing is left.

    Missing parents are made at the end too.

    Raises:
        OSError: if it cannot be made.
    """
    parents = folder.absolute().parents
    existing = next(parent for parent in parents if parent.exists())
    part = existing / f".{folder.name}-{os.getpid()}{UNFINISHED}"
    part.mkdir()
    made: list[Path] = []
    try:
        yield part
        for parent in reversed(parents[: parents.index(existing)]):
            parent.mkdir()
            made.append(parent)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part)
        for parent in reversed(made):
            parent.rmdir()
        raise
    sync(folder.parent)


def sync(folder: Path) -> None:
    """Makes what was renamed in a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
