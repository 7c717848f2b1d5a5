"""A full disk ends a run with one message; with room again it goes on as if nothing had been."""

import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tensorboard.summary.writer import event_file_writer

from context_agg.runs import checkpoints
from studies.kills import outcome
from tests.command import call
from tests.moments import at
from tests.tiny_run import TINY, run

LEARNER = "context_agg.training.learner:Learner"
RUN = [*TINY, "trainer.max_epochs=2", "data.shift=2", "checkpoint.every_steps=4"]
slow = partial(pytest.param, marks=pytest.mark.slow)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the run gives where there is room."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, *RUN)
    return outcome(folder)


def fill(disk: Path) -> None:
    with (disk / "fill").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return


@pytest.mark.parametrize(
    ("where", "count", "step"),
    [
        ("context_agg.runs.directory.begin", 1, None),
        (f"{LEARNER}.training_step", 7, 4),
        slow("os.open", 1, None),  # the lock
        slow("lightning.pytorch.loggers:TensorBoardLogger.log_hyperparams", 1, 0),
        slow(f"{LEARNER}.validation_step", 3, 16),
        slow("context_agg.runs.curves.save_curves", 1, 20),
        slow("context_agg.runs.directory.write_scores", 1, 20),
    ],
)
def test_what_is_kept_is_said_and_goes_on(
    where: str,
    count: int,
    step: int | None,
    whole: dict[str, str],
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(disk)
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(10))
    command = [*RUN, "hydra.run.dir=run"]
    threads = threading.active_count()
    with pytest.MonkeyPatch.context() as patch:
        at(where, count, partial(fill, disk), patch)
        message = call("train", *command)
    assert isinstance(message, str)  # so the exit code is 1
    assert message.startswith("cannot write")
    assert "No space left on device" in message
    assert len(message.splitlines()) == 1
    assert capfd.readouterr().err == ""
    assert threading.active_count() <= threads
    assert not list((disk / "run").rglob("*.part"))
    found = checkpoints.newest(disk / "run")
    if step:
        assert f"all up to step {step} is kept; go on with: " in message
        assert found is not None
        assert found[1]["global_step"] == step
        command = message.split()[-1:]
        assert command == ["resume=run"]
    else:
        assert found is None
    (disk / "fill").unlink()
    assert call("train", *command) == 0
    assert outcome(disk / "run") == whole
