"""A signal ends a command, and what it has done is kept."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from signal import Signals

import psutil
import pytest
from tensorboard.summary.writer import event_file_writer

from context_agg.cli import signals
from context_agg.runs import checkpoints
from studies.kills import outcome
from tests.command import call
from tests.moments import at
from tests.tiny_run import TINY, run

LEARNER = "context_agg.training.learner:Learner"
RUN = [*TINY, "trainer.max_epochs=2", "data.shift=2", "checkpoint.every_steps=4"]


slow = partial(pytest.param, marks=pytest.mark.slow)


class Ended(BaseException):
    """Takes the place of the end of the process."""


@pytest.fixture(autouse=True)
def _as_from_a_terminal() -> Iterator[None]:
    """What the caller of the tests ignores, such as Ctrl-C in the background, counts here."""
    handlers = {number: signal.getsignal(number) for number in signals.ENDING}
    for number, handler in handlers.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _no_signal_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_received", None), ("_interrupts", 0), ("_worker_of", None)):
        monkeypatch.setattr(signals, name, value)

    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the processes that a test starts
    # TensorBoard reads the files of the same second in the order of their names
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(10))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the uninterrupted run gives."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, *RUN)
    return outcome(folder)


def send(number: Signals) -> None:
    os.kill(os.getpid(), number)


def train(*overrides: str) -> object:
    """Calls the command; returns its exit code."""
    try:
        return call("train", *overrides)
    except Ended as ended:
        return ended.args[0]


def again() -> None:
    """What has been received is forgotten, as in a new process."""
    signals._received, signals._interrupts = None, 0


@pytest.mark.parametrize(
    ("where", "count", "number", "step"),
    [
        (f"{LEARNER}.training_step", 7, signal.SIGTERM, 7),
        (f"{LEARNER}.test_step", 1, signal.SIGUSR1, 20),
        slow(f"{LEARNER}.training_step", 1, signal.SIGUSR1, 1),
        slow(f"{LEARNER}.training_step", 10, signal.SIGINT, 10),
        slow(f"{LEARNER}.validation_step", 1, signal.SIGTERM, 10),
        slow(f"{LEARNER}.validation_step", 4, signal.SIGHUP, 20),
        slow("os.replace", 4, signal.SIGUSR2, 5),  # within the write after step 4
        slow("context_agg.runs.curves.save_curves", 1, signal.SIGINT, 20),
    ],
)
def test_the_last_line_says_what_is_kept_and_the_command_that_gives_the_same_as_no_signal(
    where: str,
    count: int,
    number: Signals,
    step: int,
    whole: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        at(where, count, partial(send, number), patch)
        assert train(*RUN, "hydra.run.dir=run") == 128 + number
    said = f"stopped by {number.name}: all up to step {step} is kept; go on with: "
    *_, last = capfd.readouterr().err.splitlines()
    assert last.startswith(said)
    python, m, module, *arguments = shlex.split(last.removeprefix(said))
    assert (python, m, module) == ("python", "-m", "context_agg.train")
    again()
    assert train(*arguments) == 0
    assert f"goes on    after step {step} " in capfd.readouterr().out
    assert outcome(tmp_path / "run") == whole


@pytest.mark.parametrize("where", ["sklearn.datasets.load_digits", "context_agg.runs.build.build"])
def test_before_a_run_begins_a_signal_leaves_nothing_behind(
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    at(where, 1, partial(send, signal.SIGTERM), monkeypatch)
    assert train(*RUN, "hydra.run.dir=a/run") == 143
    nothing = "stopped by SIGTERM: nothing was changed; start again with the same command\n"
    assert capfd.readouterr() == ("", nothing)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_just_finished_is_a_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write = "context_agg.runs.directory.write_scores"
    at(write, 1, partial(send, signal.SIGTERM), monkeypatch)
    assert train(*RUN, "trainer.max_epochs=1", "hydra.run.dir=run") == 0
    assert (tmp_path / "run" / "metrics.json").is_file()


def test_a_second_interrupt_does_not_wait_for_the_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def twice() -> None:
        send(signal.SIGTERM)
        send(signal.SIGTERM)  # schedulers repeat it
        send(signal.SIGINT)
        send(signal.SIGINT)

    monkeypatch.chdir(tmp_path)
    at(f"{LEARNER}.training_step", 7, twice, monkeypatch)
    assert train(*RUN, "hydra.run.dir=run") == 130
    found = checkpoints.newest(tmp_path / "run")
    assert found is not None
    assert found[1]["global_step"] == 4
    assert capfd.readouterr().err == (
        "stopping soon; Ctrl-C again stops at once\n"
        "stopped at once; the checkpoint before is kept\n"
    )


@pytest.mark.slow
def test_a_sweep_ends_as_a_whole_and_goes_on_with_what_is_left(
    whole: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = ["-m", *RUN, "hydra.sweep.dir=all", "seed=1,0,2", "optimizer.lr=0.001"]
    with pytest.MonkeyPatch.context() as patch:
        at(f"{LEARNER}.training_step", 27, partial(send, signal.SIGTERM), patch)
        assert train(*sweep) == 143
    out, err = capfd.readouterr()
    assert out.splitlines()[0] == "all: 3 runs: 3 to begin"
    assert "report" not in out
    assert err.splitlines()[-1] == (
        "stopped by SIGTERM: 1 of 3 runs have finished; go on with: "
        f"python -m context_agg.train {shlex.join(sweep)}"
    )
    assert sorted(file.name for file in (tmp_path / "all").glob("seed-*")) == ["seed-0", "seed-1"]
    again()
    assert train(*sweep) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "all: 3 runs: 1 finished before, 1 cut off, which go on, 1 to begin"
    assert lines[-1].startswith("written to all: report.md")
    assert outcome(tmp_path / "all" / "seed-0") == whole
    assert "goes on    after step 7 " in (tmp_path / "all" / "seed-0" / "train.log").read_text()
    assert train(*sweep) == 0
    assert capfd.readouterr().out.splitlines()[0] == "all: 3 runs: 3 finished before"


def test_a_signal_that_the_caller_ignores_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in signals.ENDING}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
        signals.install()
        send(signal.SIGHUP)
        assert signals.received() is None
        send(signal.SIGUSR1)
        assert signals.received() is signal.SIGUSR1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(*arguments: str, cwd: Path, prefix: str = "", suffix: str = "") -> subprocess.Popen[str]:
    """Starts the command in a session of its own, as a terminal does."""
    command = [sys.executable, "-m", "context_agg.train", *arguments]
    line = f"{prefix} exec {shlex.join(command)} {suffix}"
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell that runs us behind &
        signal.signal(signal.SIGINT, signal.default_int_handler)
    pipe = subprocess.PIPE
    return subprocess.Popen(
        ["sh", "-c", line], cwd=cwd, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def maps_hold(maps: Path, library: str) -> bool:
    return library in maps.read_text()


def printed(folder: Path, text: str) -> int:
    return sum(text in log.read_text() for log in folder.rglob("train.log"))


@pytest.fixture
def end() -> Iterator[Callable[[subprocess.Popen[str]], None]]:
    """Ends what a test has started, whatever happens."""
    started: list[subprocess.Popen[str]] = []
    yield started.append
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


LONG = [*TINY, "trainer.max_epochs=5000"]
Start = Callable[[subprocess.Popen[str]], None]


@pytest.mark.slow
def test_a_signal_during_the_imports_as_a_process(tmp_path: Path, end: Start) -> None:
    """PyTorch aborts the process if the handler raises."""
    for library, number in (("libtorch_python", signal.SIGINT), ("_imaging", signal.SIGTERM)):
        process = start(*RUN, "hydra.run.dir=run", cwd=tmp_path)
        end(process)
        maps = Path(f"/proc/{process.pid}/maps")
        wait_for(partial(maps_hold, maps, library))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert (out, len(err.splitlines())) == ("", 1)
        assert "nothing was changed" in err
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_nohup_and_closed_streams_as_a_process(tmp_path: Path, end: Start) -> None:
    log = tmp_path / "log"
    process = start(
        *LONG, "hydra.run.dir=run", cwd=tmp_path, prefix="trap '' HUP;", suffix=">log 2>&1 <&-"
    )
    end(process)
    wait_for(lambda: log.is_file() and "epoch 1/" in log.read_text())
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    assert log.read_text().splitlines()[-1].startswith("stopped by SIGTERM: all up to step")
    process = start("resume=run", cwd=tmp_path, suffix=">&- 2>&-")
    end(process)
    before = set((tmp_path / "run").glob("events*"))
    wait_for(lambda: set((tmp_path / "run").glob("events*")) - before)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert checkpoints.newest(tmp_path / "run") is not None


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGKILL", "Ctrl-C"])
def test_workers_end_with_their_parent_as_processes(how: str, tmp_path: Path, end: Start) -> None:
    sweep = ["-m", *LONG, "hydra.sweep.dir=all", "seed=0,1,2", "hydra/launcher=joblib"]
    process = start(*sweep, "hydra.launcher.n_jobs=2", cwd=tmp_path)
    end(process)
    wait_for(lambda: printed(tmp_path, "if cut off") == 2)
    children = psutil.Process(process.pid).children(recursive=True)
    if how == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    out, err = process.communicate(timeout=60)
    assert process.returncode == {"SIGKILL": -9, "Ctrl-C": 130}[how]
    assert "Traceback" not in out + err
    assert "stopped by" not in out
    said = [line for line in err.splitlines() if not line.startswith("compiled ")]
    assert said == [] if how == "SIGKILL" else "0 of 3 runs have finished" in said[-1]
    logs = sorted((tmp_path / "all").glob("seed-*/train.log"))
    assert [log.parent.name for log in logs] == ["seed-0", "seed-1"]
    for log in logs:
        last = log.read_text().splitlines()[-1]
        assert last.startswith("stopped by SIG")
        assert last.endswith(f"python -m context_agg.train resume=all/{log.parent.name}")


@pytest.mark.slow
def test_ctrl_c_typed_on_a_terminal(tmp_path: Path) -> None:
    """The last line stands alone, where the bar was."""
    code = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    command = [sys.executable, "-m", "context_agg.train", *LONG, "hydra.run.dir=run"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *command],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            screen = b""
            while b"epoch 2/" not in screen:
                more = process.stdout.read(1000)
                assert more, screen.decode()
                screen += more
            process.stdin.write(b"\x03")
            screen += process.stdout.read()
            assert process.wait(timeout=60) == 130
        finally:
            process.kill()
    *_, last = screen.decode().strip().splitlines()
    assert last.removeprefix("\r").removeprefix("\x1b[K").startswith("stopped by SIGINT: all up to")
    assert "Traceback" not in screen.decode()
