"""Reads checkpoints. They can be damaged, and can come from anybody."""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from context_agg.runs.directory import LAST, PREVIOUS
from context_agg.runs.memory import available
from context_agg.runs.reading import read_bytes

SUM = ".sha256"  # ends the name of the file beside a checkpoint that holds its checksum


def read(file: Path, *, unsigned: bool = True) -> dict[str, Any]:
    """Reads a checkpoint that is as it was written; its tensors are on the CPU.

    Args:
        file: the checkpoint.
        unsigned: whether it is read if there is no checksum beside it, as for a copy of it alone.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError, ValueError: if it or its checksum is damaged, or if it is not a checkpoint.
    """
    content = read_bytes(file, most_bytes())
    if not content:
        raise ValueError(f"{file} is damaged: it is empty")
    sums = list(_sums(file))
    if digest(content) not in sums and (sums or not unsigned):
        name = checksum(file).name
        problem = f"it does not have the checksum in {name}" if sums else f"there is no {name}"
        raise ValueError(f"{file} is damaged: {problem}")
    checkpoint = _load(file, content)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ValueError(f"{file} is not a checkpoint: it has no state_dict")
    return checkpoint


def is_intact(file: Path) -> bool:
    """Whether a checkpoint is there, and as it was written."""
    try:
        return digest(read_bytes(file, most_bytes())) in _sums(file)
    except (OSError, ValueError):  # nothing there, or what no run writes
        return False


def newest(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest good checkpoint to go on from, with its file; None if the run has written none.

    Warns if that is not the last one that was written.

    Raises:
        ValueError: if there are checkpoints, and all are damaged.
    """
    problems = []
    for file in (run_dir / LAST, run_dir / PREVIOUS):
        try:
            checkpoint = read(file, unsigned=False)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(f"{problems[0]}; going on from the one before, {file}", stacklevel=2)
        return file, checkpoint
    if problems:
        raise ValueError(
            f"{'; '.join(problems)}; the run cannot go on: delete {run_dir} to train it again"
        )
    return None


def most_bytes() -> int:
    """How large a file of weights may be: they are in memory twice while they are read."""
    return available(torch.device("cpu")) // 2


def digest(content: bytes | memoryview) -> bytes:
    """The checksum of a checkpoint."""
    return hashlib.sha256(content).hexdigest().encode()


def checksum(file: Path) -> Path:
    """Where the checksum of a checkpoint lies."""
    return file.with_name(file.name + SUM)


def _sums(file: Path) -> Iterator[bytes]:
    """The checksums that a file may have: its own, and what a kill has left under another name."""
    pair = [Path(LAST).name, Path(PREVIOUS).name]  # the one becomes the other
    for name in pair if file.name in pair else [file.name]:
        for path in file.parent.glob(f"{name}{SUM}*"):
            with suppress(OSError, ValueError):  # then it is no checksum
                yield read_bytes(path, 100)


def _load(file: Path, content: bytes) -> Any:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ValueError(f"{file} is not a checkpoint: it is not an archive as PyTorch writes them")
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError:  # whose text advises to load it all the same
        raise ValueError(f"{file} is not loaded: {_unsafe(content)}") from None
    except Exception as error:  # whatever a file can contain
        raise ValueError(f"{file} is not a checkpoint: PyTorch cannot read it") from error


def _unsafe(content: bytes) -> str:
    try:
        names = ", ".join(get_unsafe_globals_in_checkpoint(io.BytesIO(content)))
    except Exception:  # whatever a file can contain
        names = ""
    named = f" ({names})" if names else ""
    return f"it holds more than tensors and plain values{named}, which could run any code"
