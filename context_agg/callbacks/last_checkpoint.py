"""Keeps the state of a run, so that it can go on where it was cut off as if it had not been."""

import random
import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from context_agg.cli import signals
from context_agg.data.batches import EpochLoader
from context_agg.ops.checks import check_number, check_whole
from context_agg.training.arithmetic import arithmetic
from context_agg.training.collectives import gather, largest, rank

AFTER_EPOCH = 10.0  # seconds: a checkpoint that is younger is not replaced at the end of an epoch


class LastCheckpoint(Checkpoint):
    """Writes checkpoints/last.ckpt between two steps, after epochs, and when a signal arrives.

    Beside what Lightning keeps, it keeps the state of the random generators of Python, NumPy,
    torch and CUDA, the time used so far, and the scalars of the last epoch. It never writes between
    the last step of an epoch and the end of its validation. Several processes do all this together:
    what one of them is due to do, all do.

    Args:
        every_minutes: time between two checkpoints.
        every_steps: steps of the optimizer between two checkpoints; None: time alone decides.

    Raises:
        Stopped: after a step, if a signal has arrived; the checkpoint is written by then.
    """

    def __init__(self, every_minutes: float = 5.0, every_steps: int | None = None) -> None:
        check_number("every_minutes", every_minutes, 0)
        if every_steps is not None:
            check_whole("every_steps", every_steps)
        self.every_seconds = 60 * every_minutes
        self.every_steps = every_steps
        self.scalars: dict[str, float] = {}
        self.step = 0  # of the optimizer, at the last checkpoint
        self.logged = 0  # steps whose scalars TensorBoard has, by then
        self._resumed: dict[str, Any] = {}  # what is left to restore when training starts
        self._seconds = 0.0
        self._since = time.perf_counter()
        self._written = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent on training so far, by all the processes that have worked on the run."""
        return self._seconds + time.perf_counter() - self._since

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._since = time.perf_counter()
        self._written = time.monotonic()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._resumed:
            # Lightning does this too, but not if a callback has asked for the loader before, as
            # `trainer.estimated_stepping_batches` does
            _loader(trainer).load_state_dict(self._resumed["position"])
            others = self._resumed.get("random_of_others", [])
            state = [self._resumed["random"], *others][rank()]
            set_random_state(state, trainer.strategy.root_device)
        elif rank() > 0:  # with the numbers of the first process all would drop out the same units
            torch.manual_seed(torch.initial_seed() + rank())

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: object,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        batches = batch_idx + 1
        if batches % trainer.accumulate_grad_batches or batches == trainer.num_training_batches:
            return  # within a step, or before the validation
        due = time.monotonic() - self._written >= self.every_seconds or (
            self.every_steps is not None and trainer.global_step - self.step >= self.every_steps
        )
        due, signal = _agreed(due)
        if due:
            self.logged = trainer.fit_loop.epoch_loop._batches_that_stepped + 1
            self._write(trainer)
        signals.stop(signal)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Here the epoch before is complete, and its scalars are logged."""
        due, signal = _agreed(time.monotonic() - self._written >= AFTER_EPOCH)
        if due and trainer.current_epoch > 0 and trainer.global_step > self.step:
            self._after_epoch(trainer)
        signals.stop(signal)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._after_epoch(trainer)
        _, signal = _agreed(True)
        signals.stop(signal)

    def state_dict(self) -> dict[str, Any]:
        return {
            "logged": self.logged,
            "seconds": self.seconds,
            "scalars": self.scalars,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.scalars = state["scalars"]
        self.logged = state["logged"]
        self._seconds = state["seconds"]
        self._resumed = state

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        state = checkpoint["callbacks"][self.state_key]
        state["step"] = trainer.global_step
        state["random"] = random_state(trainer.strategy.root_device)
        state["position"] = _loader(trainer).state_dict()
        state["processes"] = trainer.world_size
        if trainer.world_size > 1:
            state["random_of_others"] = gather(state["random"])[1:]
        state["arithmetic"] = arithmetic(
            pl_module, trainer.strategy.root_device, str(trainer.precision)
        )
        # At the start of an epoch Lightning has counted it as begun, and would take it for done
        # when it goes on.
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]
        for count in epochs.values():
            if count["ready"] > count["started"]:
                count["ready"] = count["started"]

    def _after_epoch(self, trainer: L.Trainer) -> None:
        self.scalars = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.logged = trainer.fit_loop.epoch_loop._batches_that_stepped
        self._write(trainer)

    def _write(self, trainer: L.Trainer) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.flush()
        trainer.save_checkpoint(Path(str(trainer.log_dir)) / "checkpoints" / "last.ckpt")
        self.step = trainer.global_step  # not before it is written: it says what is kept
        self._written = time.monotonic()


def _agreed(due: bool) -> tuple[bool, int]:
    """Whether a checkpoint is due in any process, and the signal that one has got, or 0."""
    due_, signal = largest(due, signals.received() or 0)
    return bool(due_ or signal), signal


def _loader(trainer: L.Trainer) -> EpochLoader:
    loader = trainer.train_dataloader
    assert isinstance(loader, EpochLoader)
    return loader


def random_state(device: torch.device) -> dict[str, Any]:
    """The states of the global random generators, in types that a checkpoint may hold.

    Args:
        device: the one that this process computes on; other CUDA devices do not count.
    """
    numpy_state: Any = np.random.get_state(legacy=False)
    key = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    return {
        "python": random.getstate(),
        "numpy": {**numpy_state, "state": {**numpy_state["state"], "key": key}},
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Sets the global random generators, that of CUDA on the device of this process."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    inner = state["numpy"]["state"]
    key = inner["key"].numpy().astype(np.uint32)
    np.random.set_state({**state["numpy"], "state": {**inner, "key": key}})
    torch.set_rng_state(state["torch"])
    if device.type == "cuda":
        cuda = state["cuda"]
        if isinstance(cuda, list):  # an earlier version kept those of all devices
            cuda = cuda[min(device.index, len(cuda) - 1)]
        torch.cuda.set_rng_state(cuda, device)
