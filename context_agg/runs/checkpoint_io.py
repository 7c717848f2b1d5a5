"""Writes checkpoints so that no kill and no full disk costs a good one."""

import io
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from context_agg.runs.atomic import UNFINISHED, stage, sync
from context_agg.runs.checkpoints import checksum, digest, is_intact, read
from context_agg.runs.directory import LAST, PREVIOUS


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
        _finish(file)
        new_sum = stage(checksum(file), digest(content.getbuffer()))
        try:
            new = stage(file, content.getbuffer())
        except OSError:
            new_sum.unlink()
            raise
        # After a kill between two of these renames, the checksum of a file has another name than
        # its own; `read` knows both.
        if file.name == Path(LAST).name and is_intact(file):  # a damaged one is not worth keeping
            previous = file.with_name(Path(PREVIOUS).name)
            if checksum(file).is_file():
                os.replace(checksum(file), checksum(previous))
            os.replace(file, previous)
        os.replace(new, file)
        os.replace(new_sum, checksum(file))
        sync(file.parent)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        return read(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a checkpoint, if it is there, as a ModelCheckpoint of the user's may ask."""
        file = Path(path)
        file.unlink(missing_ok=True)
        checksum(file).unlink(missing_ok=True)  # last: without it a checkpoint would seem damaged


def _finish(file: Path) -> None:
    """Gives a checksum its name if a kill has come between the renames of a file and of its own."""
    waiting = checksum(file).with_name(checksum(file).name + UNFINISHED)
    if waiting.is_file() and file.is_file() and waiting.read_bytes() == digest(file.read_bytes()):
        os.replace(waiting, checksum(file))
