"""Breaks runs on purpose: what killed runs end in, and what it costs to keep a run."""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from context_agg.cli.compose import compose_config
from context_agg.runs.checkpoint_io import SafeCheckpointIO
from context_agg.runs.directory import LAST
from context_agg.train import train
from studies import command_lines
from studies.corruptions import corrupt_and_call
from studies.kills import KILLED, Moment, outcome, random_moments, train_in_process
from studies.results import read
from studies.study import Study
from studies.tables import plain_table

SETTINGS = {
    "default": (),
    "weight averaging": ("callbacks=weight_averaging",),
    "accumulation": ("+trainer.accumulate_grad_batches=3",),
    "cosine schedule": ("schedule=cosine",),
    "gradient noise": ("callbacks=gradient_noise",),
    "broken, normal": ("backprop=broken", "model.init=normal"),
}
KILLS = (1, 2, 5)
SEEDS = 4
TRIALS = (  # of misuse: as what, seeds, whether each has a process of its own
    ("in one process", range(300), False),
    ("as processes", range(300, 312), True),
)
ONE_MESSAGE = {"refused": "one message", "ended": "one message"}
MNIST = ("data=mnist", "trainer.max_epochs=2", "trainer.accelerator=cpu")


def measure_kills() -> Iterator[list[str]]:
    """Kills runs once, twice and five times, and compares each with the uninterrupted run.

    Half of the kills come at a place in the code, half at a time.
    """
    yield ["settings", "seed", "moments", "killed", "same"]
    with tempfile.TemporaryDirectory() as folder:
        for settings, overrides in SETTINGS.items():
            whole = Path(folder, settings, "whole")
            start = time.perf_counter()
            assert train_in_process(whole, overrides) == 0
            seconds = time.perf_counter() - start
            for kills in KILLS:
                for seed in range(SEEDS):
                    moments = (
                        random_moments(seed, kills) if seed % 2 else _times(seed, kills, seconds)
                    )
                    run_dir = Path(folder, settings, f"{kills}-{seed}")
                    codes = [_kill(run_dir, overrides, moment) for moment in moments]
                    assert train_in_process(run_dir, overrides) == 0
                    same = outcome(run_dir) == outcome(whole)
                    yield [
                        settings,
                        str(seed),
                        "; ".join(map(_name, moments)),
                        str(codes.count(KILLED)),
                        "yes" if same else "no",
                    ]


def _times(seed: int, count: int, seconds: float) -> list[float]:
    generator = random.Random(seed)
    return [generator.uniform(0, seconds) for _ in range(count)]


def _kill(run_dir: Path, overrides: tuple[str, ...], moment: Moment | float) -> int:
    if isinstance(moment, Moment):
        return train_in_process(run_dir, overrides, moment=moment)
    return train_in_process(run_dir, overrides, after=moment)


def _name(moment: Moment | float) -> str:
    if isinstance(moment, Moment):
        return f"{moment.where} {moment.count}"
    return f"{moment:.2f} s"


def measure_checkpoints() -> Iterator[list[str]]:
    """The share of an MNIST run's time that its checkpoints take."""
    yield ["every_minutes", "seconds", "checkpoints", "megabytes", "writing", "share"]
    torch.set_num_threads(1)
    original = SafeCheckpointIO.save_checkpoint
    times: list[float] = []

    def timed(*operands: Any, **options: Any) -> None:
        start = time.perf_counter()
        original(*operands, **options)
        times.append(time.perf_counter() - start)

    with tempfile.TemporaryDirectory(dir=".") as folder:
        SafeCheckpointIO.save_checkpoint = timed  # type: ignore[method-assign]
        try:
            for minutes in ("5", "0.1"):
                times.clear()
                run_dir = Path(folder, minutes)
                cfg = compose_config(*MNIST, f"checkpoint.every_minutes={minutes}")
                seconds = train(cfg, run_dir)["seconds"]
                size = (run_dir / LAST).stat().st_size / 1e6
                writing = sum(times)
                yield [
                    minutes,
                    f"{seconds:.1f}",
                    str(len(times)),
                    f"{size:.2f}",
                    f"{writing:.3f}",
                    f"{writing / seconds:.4f}",
                ]
        finally:
            SafeCheckpointIO.save_checkpoint = original  # type: ignore[method-assign]


def measure_corruptions() -> Iterator[list[str]]:
    """Calls commands on damaged runs, in one process; a dozen more as processes."""
    columns = ["seed", "command", "damage", "end", "seconds"]
    yield ["as", *columns]
    for how, seeds, processes in TRIALS:
        for row in corrupt_and_call(seeds, processes=processes):
            yield [how, *(row[column] for column in columns)]


def measure_command_lines() -> Iterator[list[str]]:
    """Runs random command lines in one process; a dozen more as processes."""
    columns = ["seed", "command", "outcome", "seconds"]
    yield ["as", *columns]
    for how, seeds, processes in TRIALS:
        with tempfile.TemporaryDirectory() as folder:
            for row in command_lines.rows(seeds, Path(folder), as_processes=processes):
                yield [how, *(row[column] for column in columns)]


def kills_table() -> str:
    """By settings: how many runs were killed how often, and how many ended in the same."""
    rows = []
    for settings in SETTINGS:
        trials = [row for row in read("kills") if row["settings"] == settings]
        rows.append(
            {
                "settings": settings,
                "runs": str(len(trials)),
                "kills": str(sum(int(row["killed"]) for row in trials)),
                "ended as uninterrupted": str(sum(row["same"] == "yes" for row in trials)),
            }
        )
    return plain_table(rows)


def checkpoints_table() -> str:
    """What the checkpoints of an MNIST run cost."""
    return plain_table(
        [
            {
                "checkpoint.every_minutes": row["every_minutes"],
                "run": f"{float(row['seconds']):.0f} s",
                "checkpoints": row["checkpoints"],
                "size": f"{row['megabytes']} MB",
                "time to write": f"{float(row['writing']):.2f} s",
                "share": f"{float(row['share']):.2%}",
            }
            for row in read("checkpoints")
        ]
    )


def misuse_table() -> str:
    """How the commands ended, on damaged runs and with random arguments."""
    rows = []
    for name, column, words in (
        ("corruptions", "end", "damaged runs"),
        ("command_lines", "outcome", "random command lines"),
    ):
        for how, _, _ in TRIALS:
            trials = [row for row in read(name) if row["as"] == how]
            ends = Counter(ONE_MESSAGE.get(row[column], row[column]) for row in trials)
            longest = max(float(row["seconds"]) for row in trials)
            good = ends["success"] + ends["one message"]
            rows.append(
                {
                    "trials": f"{words}, {how}",
                    "number": str(len(trials)),
                    "success": str(ends["success"]),
                    "one message": str(ends["one message"]),
                    "anything else": str(len(trials) - good),
                    "longest": f"{longest:.0f} s",
                }
            )
    return plain_table(rows)


STUDY = Study(
    "reliability",
    measurements={
        "kills": measure_kills,
        "checkpoints": measure_checkpoints,
        "corruptions": measure_corruptions,
        "command_lines": measure_command_lines,
    },
    tables={"kills": kills_table, "checkpoints": checkpoints_table, "misuse": misuse_table},
)
