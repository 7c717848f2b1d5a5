"""A folder has one writer, and a user's files are not touched."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from context_agg.runs.claim import claim
from context_agg.runs.directory import MARK
from tests.command import call
from tests.tiny_run import TINY

RUN = [*TINY, "trainer.max_epochs=1"]


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("multirun", [False, True])
@pytest.mark.parametrize(
    ("files", "given"),
    [
        (["mine/checkpoints/my_thesis.pt", "mine/gradients.md", "mine/curves.png"], "mine"),
        (["mine/metrics.txt"], "."),
        (["mine/.hidden"], "mine"),
        (["mine/train.log"], "mine"),
        (["mine/empty/folder/deep.txt"], "mine/empty"),
        (["mine/a.txt"], "link"),  # to mine
        (["mine"], "mine"),
        (["mine"], "mine/run"),
    ],
)
def test_a_folder_of_the_user_s_is_refused_and_stays_as_it_was(
    files: Sequence[str],
    given: str,
    multirun: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("mine")
    if given == "link":
        Path("link").symlink_to("mine")
    before = contents(tmp_path)
    place = ["-m", *RUN, f"hydra.sweep.dir={given}", "seed=0,1"]
    message = call("train", *(place if multirun else [*RUN, f"hydra.run.dir={given}"]))
    assert isinstance(message, str)
    assert len(message.splitlines()) == 1
    assert ("hydra.sweep.dir=DIR" if multirun else "hydra.run.dir=DIR") in message
    assert contents(tmp_path) == before
    assert capsys.readouterr().out == ""


def test_the_root_of_the_file_system_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(os.listdir("/"))
    message = call("train", *RUN, "hydra.run.dir=/")
    assert isinstance(message, str)
    assert "/ " in message
    assert set(os.listdir("/")) == before


def test_a_second_writer_is_told_who_is_the_first(tmp_path: Path) -> None:
    with claim(tmp_path / "run"):
        (tmp_path / "run" / "file").touch()
        with pytest.raises(BlockingIOError, match=rf"process {os.getpid()} is writing there; wait"):
            claim(tmp_path / "run").__enter__()
    with claim(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / MARK).is_file()  # it holds a file, and is still ours


def test_what_was_not_written_into_is_no_longer_ours(tmp_path: Path) -> None:
    with claim(tmp_path):
        pass
    assert contents(tmp_path) == {}


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys; from context_agg.runs.claim import claim; from pathlib import Path\n"
        "with claim(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(BlockingIOError, match=f"process {process.pid} is writing there"):
            claim(tmp_path).__enter__()
        process.send_signal(signal.SIGKILL)
    assert (tmp_path / MARK).is_file()
    with claim(tmp_path):
        assert (tmp_path / MARK).read_text() == f"process {os.getpid()}\n"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_refused(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.chdir(tmp_path)
    open_before = os.listdir("/proc/self/fd")
    for place in (["hydra.run.dir=a/run"], ["-m", "hydra.sweep.dir=a/run", "seed=0,1"]):
        message = call("train", *place, *RUN)
        assert isinstance(message, str)
        assert f"a/run cannot be locked ({os.strerror(number)})" in message
        assert "another file system: hydra.run.dir=DIR" in message
    with pytest.raises(OSError, match="cannot be locked"):
        claim(tmp_path / "run").__enter__()
    assert len(os.listdir("/proc/self/fd")) <= len(open_before)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
