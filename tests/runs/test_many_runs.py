"""Many runs in one process, and a sweep of many: nothing is left over."""

import ctypes
import gc
import io
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil
import pytest

from tests.command import call
from tests.tiny_run import TINY, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks glibc and /proc")

COUNT = 50
SEEDS = 20  # of a sweep: a file or a thread that a run leaves open is counted, not estimated
SHORT = [
    *TINY,
    "trainer.max_epochs=1",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
]
MEASURED = range(20, COUNT, 3)  # not after each call, as measuring takes half a second
MEGABYTES = 0.5  # a call


@dataclass(frozen=True)
class Held:
    """What this process holds of the system."""

    files: int
    threads: int
    python_threads: int
    children: int

    @classmethod
    def now(cls) -> "Held":
        gc.collect()
        process = psutil.Process()
        return cls(
            process.num_fds(),
            process.num_threads(),
            threading.active_count(),
            len(process.children(recursive=True)),
        )


def memory() -> float:
    """Megabytes that this process has written, swapped out or not, without what it could give back.

    What it maps of files does not count: the system takes that back when it likes.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = [line.split() for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]]
    kilobytes = {name: int(size) for name, size, *_ in lines}
    return (kilobytes["Anonymous:"] + kilobytes["Swap:"]) / 1000


def growth(work: Callable[[int], object]) -> float:
    """By how many megabytes the process grows with each call.

    The median of the steps from one measurement to the next: what the system or an earlier test
    takes or gives back once does not move it, as it would the difference of the last and the first.
    """
    held = []
    for number in range(COUNT):
        work(number)
        if number in MEASURED:
            held.append(memory())
    return median(late - early for early, late in pairwise(held)) / MEASURED.step


@pytest.mark.slow
def test_many_runs_in_one_process_leave_nothing_over(tmp_path: Path) -> None:
    def short(number: int) -> None:
        with redirect_stdout(io.StringIO()):
            run(tmp_path / str(number), *SHORT, f"seed={number}")

    short(COUNT)  # what is loaded once
    held = Held.now()
    assert growth(short) < MEGABYTES
    assert Held.now() == held


@pytest.mark.slow
def test_a_leak_is_seen() -> None:
    kept = []
    assert growth(lambda _: kept.append(os.urandom(1_000_000))) == pytest.approx(1, abs=0.5)
    held = Held.now()
    with Path(os.devnull).open():
        assert Held.now() != held


@pytest.mark.slow
def test_what_is_given_back_once_does_not_hide_a_leak() -> None:
    kept = [os.urandom(20_000_000)]

    def leak(number: int) -> None:
        kept.append(os.urandom(1_000_000))
        if number == MEASURED[4]:
            kept.pop(0)

    assert growth(leak) > MEGABYTES


def options(launcher: str) -> list[str]:
    """The arguments of a sweep of many short runs."""
    network = ["model=linear", "~callbacks.network_graph"]
    sizes = [option for option in SHORT if not option.startswith("model.")]
    place = ["hydra.sweep.dir=here", f"hydra/launcher={launcher}"]
    return ["-m", *network, *sizes, *place, f"seed=range({SEEDS})"]


def finished(folder: Path) -> list[str]:
    return sorted(file.parent.name for file in folder.glob("*/metrics.json"))


@pytest.mark.slow
def test_a_sweep_of_many_in_one_process_leaves_nothing_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("train", *options("basic"), "seed=0,1") == 0  # what is loaded once
    held = Held.now()
    assert call("train", *options("basic")) == 0
    assert Held.now() == held
    assert finished(tmp_path / "here") == sorted(f"seed-{seed}" for seed in range(SEEDS))


@pytest.mark.slow
def test_the_workers_of_a_sweep_of_many_end_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "context_agg.train", *options("joblib")]
    workers: set[psutil.Process] = set()
    with (tmp_path / "printed").open("w") as printed:
        sweep = psutil.Popen(command, cwd=tmp_path, stdout=printed, stderr=printed)
        while sweep.poll() is None:
            workers |= set(sweep.children(recursive=True))
            time.sleep(0.2)
    assert sweep.returncode == 0, (tmp_path / "printed").read_text()
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    assert finished(tmp_path / "here") == sorted(f"seed-{seed}" for seed in range(SEEDS))
