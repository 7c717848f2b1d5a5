"""Kills processes that train, and compares what becomes of their run with the uninterrupted run."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from context_agg.cli.compose import compose_config
from context_agg.runs import checkpoints
from context_agg.runs.directory import BEST, LAST, METRICS

SMALL = (  # three epochs of twelve batches
    "model.channels=2",
    "data.batch_size=8",
    "data.shift=2",
    "data.rotate=20",
    "trainer.accelerator=cpu",
    "trainer.limit_train_batches=12",
    "trainer.limit_val_batches=3",
    "trainer.limit_test_batches=3",
    "trainer.max_epochs=3",
    "checkpoint.every_steps=3",
)
TIMES = ("seconds", "train/images_per_second")
KILLED = -signal.SIGKILL  # the exit code of a process that was killed

# A server that has imported everything forks a process in milliseconds.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["context_agg.runs.build", "context_agg.train", __name__])


@dataclass(frozen=True)
class Moment:
    """When a process dies: in the `count`-th call of a function.

    Args:
        where: a method of the learner, or a function of os.
        count: which call, from 1.
    """

    where: str
    count: int

    def arm(self) -> None:
        """Makes this process kill itself there."""
        from context_agg.training.learner import Learner

        owner: Any = Learner if hasattr(Learner, self.where) else os
        original = getattr(owner, self.where)
        left = self.count

        def count(*operands: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        # Lightning looks at the arguments of a step
        def step(learner: Any, batch: Any) -> Any:
            count()
            return original(learner, batch)

        def call(*operands: Any) -> Any:
            count()
            return original(*operands)

        setattr(owner, self.where, step if owner is Learner else call)


def random_moments(seed: int, count: int) -> list[Moment]:
    """Moments that many processes of a small run can die at, one after the other."""
    generator = random.Random(seed)
    places: list[tuple[str, int]] = [
        ("training_step", 12),
        ("validation_step", 6),
        ("replace", 30),  # within the write of a checkpoint
        ("fsync", 20),
        ("test_step", 3),
    ]
    return [
        Moment(where, generator.randint(1, most))
        for where, most in (generator.choice(places) for _ in range(count))
    ]


def train_in_process(
    run_dir: Path,
    overrides: Sequence[str],
    *,
    moment: Moment | None = None,
    after: float | None = None,
) -> int:
    """Trains in a process of its own, to the end or until it is killed; returns its exit code.

    Args:
        run_dir: the run's directory.
        overrides: its settings.
        moment: where the process kills itself.
        after: seconds after which it is killed.
    """
    process = _processes.Process(target=_train, args=(run_dir, tuple(overrides), moment))
    process.start()
    process.join(after)
    if process.is_alive():
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def outcome(run_dir: Path) -> dict[str, str]:
    """All that a run gives, except for times, as a checksum of each part.

    The curves are those that TensorBoard reads.
    """
    scores = json.loads((run_dir / METRICS).read_text())
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    curves = {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in sorted(events.Tags()["scalars"])
        if tag not in TIMES
    }
    parts: dict[str, Any] = {
        "scores": {name: scores[name] for name in sorted(scores) if name not in TIMES},
        "curves": curves,
    }
    for name, file in (("last weights", LAST), ("best weights", BEST)):
        state = checkpoints.read(run_dir / file)["state_dict"]
        parts[name] = [(key, bytes(_bytes(value))) for key, value in state.items()]
    return {name: hashlib.sha256(repr(part).encode()).hexdigest() for name, part in parts.items()}


def _bytes(value: torch.Tensor) -> Any:
    return value.contiguous().view(-1).view(torch.uint8).numpy()


def _train(run_dir: Path, overrides: Sequence[str], moment: Moment | None) -> None:
    from context_agg.cli.quiet import quiet
    from context_agg.train import train

    quiet()
    torch.set_num_threads(1)
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if moment is not None:
        moment.arm()
    train(compose_config(*SMALL, *overrides), run_dir)
