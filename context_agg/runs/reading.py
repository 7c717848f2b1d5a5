"""The one way in which a file of a run is read: whole, of a bounded size, else one message."""

import json
from pathlib import Path
from typing import Any

MOST_TEXT = 64_000  # bytes; a run writes some thousand
MOST_MESSAGE = 600  # letters of an error that repeats what is in a file
WAY_OUT = "take it from a copy, or train the run again"


def read_bytes(file: Path, most: int) -> bytes:
    """Reads a file, or what a link to a file leads to.

    Args:
        file: what to read.
        most: bytes that a file of its kind can have.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        OSError, ValueError: if it is no file, cannot be read or is too large, naming it.
    """
    try:
        if not file.is_file():  # a pipe would never end
            file.lstat()
            raise ValueError(f"{file} is not a file")
        size = file.stat().st_size
        if size > most:
            raise ValueError(f"{file} has {size:,} bytes; a file of its kind has {most:,} at most")
        return file.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no {file}") from None
    except OSError as error:
        raise OSError(f"cannot read {file}: {error.strerror}") from error


def read_text(file: Path) -> str:
    """Reads a text of a run.

    Raises:
        FileNotFoundError: if there is nothing of that name.
        OSError, ValueError: as `read_bytes`; if it is empty or not UTF-8.
    """
    try:
        text = read_bytes(file, MOST_TEXT).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is damaged: it is not UTF-8; {WAY_OUT}") from error
    except ValueError as error:
        raise ValueError(f"{error}; {WAY_OUT}") from error
    if not text.strip():
        raise ValueError(f"{file} is empty; {WAY_OUT}")
    return text


def read_json(file: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
        OSError, ValueError: as `read_text`; if it is not JSON.
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {error}; {WAY_OUT}") from error


def short(error: BaseException) -> str:
    """What an error says; what a file has made it repeat is cut off."""
    text = str(error)
    return text if len(text) <= MOST_MESSAGE else f"{text[:MOST_MESSAGE]} ..."
