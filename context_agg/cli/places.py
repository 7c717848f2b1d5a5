"""Checks that a folder is there, and that one can be written to."""

import tempfile
from pathlib import Path


def check_folder(folder: Path) -> None:
    """Refuses what is no folder.

    Raises:
        NotADirectoryError: if it is a file.
        FileNotFoundError: if it is not there.
    """
    if folder.is_dir():
        return
    if folder.exists():
        raise NotADirectoryError(f"{folder} is a file, not a folder")
    raise FileNotFoundError(f"there is no folder {folder}")


def check_writable(key: str, folder: str) -> None:
    """Rejects a folder that cannot be made or written to; makes nothing.

    Raises:
        SystemExit: with one message that names the key and the folder that is in the way.
    """
    if not folder:
        raise SystemExit(f"{key}= must name a folder: {key}=DIR")
    path = Path(folder)
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        tempfile.TemporaryDirectory(dir=existing).cleanup()
    except OSError as error:
        raise SystemExit(
            f"{key}={folder}: cannot write to {existing} ({error.strerror}); name another folder "
            f"with {key}=DIR"
        ) from None
