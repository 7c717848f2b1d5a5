"""What a run that cannot finish says: why, what is kept of it, and the way out."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from context_agg.callbacks.last_checkpoint import LastCheckpoint
from context_agg.cli import ranks, signals
from context_agg.cli.errors import UserError
from context_agg.data.batches import BadFileError
from context_agg.runs.summary import kept

LOST = re.compile("gloo|nccl|store", re.IGNORECASE)  # in what PyTorch says of a lost connection


@contextmanager
def explained(output_dir: Path, last: LastCheckpoint) -> Iterator[None]:
    """Adds to what ends a run up to where it is kept.

    Args:
        output_dir: the run's directory.
        last: what writes its checkpoints.

    Raises:
        UserError: in place of errors that a user can do something about.
        Stopped: if a signal ends the run.
    """
    try:
        yield
    except signals.Stopped as stopped:
        raise signals.Stopped(stopped.by, kept(output_dir, last.step)) from None
    except BrokenPipeError:
        raise
    except BadFileError as error:
        raise UserError(
            f"{error}. Fix what python -m context_agg.data DIR names; {kept(output_dir, last.step)}"
        ) from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error):
            raise UserError(
                "there is not enough memory for a step; lower data.batch_size or the size of the "
                f"network. {kept(output_dir, last.step)}"
            ) from error
        if ranks.count() > 1 and LOST.search(str(error)):
            raise UserError(
                "another process of the run has ended, and so this one ends too; "
                f"{kept(output_dir, last.step)}"
            ) from error
        if "does not have a deterministic implementation" not in str(error):
            raise
        operation = str(error).partition(" does not have")[0]
        raise UserError(
            f"determinism=strict: {operation} has no deterministic form on this device; use "
            "determinism=seeded"
        ) from error
    except OSError as error:  # a full disk, for instance
        raise UserError(
            f"cannot write: {error.strerror or error}; {kept(output_dir, last.step)}"
        ) from error
