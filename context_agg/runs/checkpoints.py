"""Reads and writes checkpoints so that no kill, full disk or flipped bit costs a good one."""

import hashlib
import io
import os
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from context_agg.runs.atomic import stage, sync
from context_agg.runs.directory import LAST, PREVIOUS

SUM = ".sha256"  # ends the name of the file beside a checkpoint that holds its checksum


class SafeCheckpointIO(CheckpointIO):
    """Lets a checkpoint take its name when it is complete on the disk, with a checksum beside it.

    A new last.ckpt keeps the one before it as previous.ckpt.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        new_sum = stage(_sum(file), _digest(content.getbuffer()))
        try:
            new = stage(file, content.getbuffer())
        except OSError:
            new_sum.unlink()
            raise
        if file.name == Path(LAST).name and file.is_file():
            # After a kill between two of these renames, a file lies beside the checksum of
            # another; `read` accepts every checksum in the folder.
            previous = file.with_name(Path(PREVIOUS).name)
            if _sum(file).is_file():
                os.replace(_sum(file), _sum(previous))
            os.replace(file, previous)
        os.replace(new_sum, _sum(file))
        os.replace(new, file)
        sync(file.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        raise NotImplementedError("a run replaces its checkpoints and removes none")


def read(file: Path) -> dict[str, Any]:
    """Reads a checkpoint that is as it was written; its tensors are on the CPU.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it or its checksum is damaged, or if it is not a checkpoint.
    """
    content = file.read_bytes()
    sums = [path.read_bytes() for path in file.parent.glob(f"*{SUM}")]
    if _digest(content) not in sums:
        raise ValueError(f"{file} is damaged: it does not have the checksum in {_sum(file).name}")
    try:
        checkpoint = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except UnpicklingError:  # whose text advises to load it all the same
        raise ValueError(
            f"{file} is not loaded: it holds more than tensors and plain values, which could run "
            "any code"
        ) from None
    except Exception as error:  # whatever a file can contain
        raise ValueError(f"{file} is not a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ValueError(f"{file} is not a checkpoint: it has no state_dict")
    return checkpoint


def newest(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest good checkpoint to go on from, with its file; None if the run has written none.

    Warns if that is not the last one that was written.

    Raises:
        ValueError: if there are checkpoints, and all are damaged.
    """
    problems = []
    for file in (run_dir / LAST, run_dir / PREVIOUS):
        try:
            checkpoint = read(file)
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


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _sum(file: Path) -> Path:
    return file.with_name(file.name + SUM)
