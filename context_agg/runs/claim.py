"""A folder has one writer at a time, and only a folder of ours is written into."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from context_agg.runs.directory import MARK


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Makes the folder if need be, and keeps other processes out for as long as it lasts.

    The lock is the system's: it ends with the process, however that ends. If nothing was written,
    nothing of it stays.

    Args:
        folder: directory of a run or of a sweep.

    Raises:
        FileExistsError: if there are files in it and it is not ours.
        BlockingIOError: if another process writes there, naming it.
    """
    mark = folder / MARK
    if not mark.is_file() and (others := _names(folder)):
        raise FileExistsError(
            f"{folder} holds {min(others)} and is not the directory of a run, so nothing is "
            "written into it; name a new one: hydra.run.dir=DIR, with -m hydra.sweep.dir=DIR"
        )
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(mark)
    try:
        yield
    finally:
        tidy(folder)
        os.close(descriptor)


def holder(folder: Path) -> str:
    """The process that has claimed a folder; empty if none has."""
    try:
        return (folder / MARK).read_text()
    except FileNotFoundError:
        return ""


def tidy(folder: Path) -> None:
    """Removes the mark of a folder that nothing was written to."""
    if _names(folder) <= {MARK}:
        (folder / MARK).unlink(missing_ok=True)


def leave(folder: Path) -> None:
    """What the end of `claim` does, for a process that ends at once; another's claim stays."""
    with suppress(OSError):
        if (folder / MARK).read_text() == _holder():
            tidy(folder)


def _holder() -> str:
    return f"process {os.getpid()}\n"


def _lock(mark: Path) -> int:
    descriptor = os.open(mark, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 100).decode().strip() or "another process"
        os.close(descriptor)
        raise BlockingIOError(
            f"{mark.parent}: {holder} is writing there; wait until it has finished, or end it"
        ) from None
    except OSError as error:
        os.close(descriptor)
        tidy(mark.parent)
        raise OSError(
            f"{mark.parent} cannot be locked ({error.strerror}), and without a lock two processes "
            "could write into it; name a folder on another file system: hydra.run.dir=DIR, with -m "
            "hydra.sweep.dir=DIR"
        ) from None
    if not mark.exists() or not os.path.samestat(os.fstat(descriptor), mark.stat()):
        os.close(descriptor)  # its last owner has just removed it
        return _lock(mark)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, _holder().encode())
    except OSError as error:
        tidy(mark.parent)
        os.close(descriptor)
        raise OSError(f"cannot write to {mark.parent}: {error.strerror}") from None
    return descriptor


def _names(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()
