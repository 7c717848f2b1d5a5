"""Several processes train one network: processes as torchrun and srun start them, on the CPU."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from uuid import uuid4

import psutil
import pytest
import torch

from context_agg.cli import ranks
from context_agg.cli.compose import compose_config
from context_agg.evaluate import evaluate
from context_agg.runs import checkpoints, resume
from context_agg.train import train
from studies.kills import outcome
from tests.tiny_run import scalars

pytestmark = pytest.mark.slow

PYTHON = (sys.executable, "-m")
TORCHRUN = (*PYTHON, "torch.distributed.run", "--nproc-per-node=2", "-m")
TRAIN = "context_agg.train"

# 13 scenes are two batches of 6 and one of 1, in which one of two processes has nothing.
SCENES = (
    "data=digit_scenes",
    "data.size=32",
    "data.digits=2",
    "data.train_scenes=13",
    "data.validation_scenes=5",
    "data.test_scenes=7",
    "front_end=small",
    "front_end.widths=[4]",
    "model.channels=null",
    "backprop=manual_torch",
    "callbacks=[gradient_noise,random_gradients]",
    "callbacks.random_gradients.parts=[context.layers.0]",
    "trainer.accelerator=cpu",
    "trainer.precision=64-true",
    "trainer.max_epochs=20",
)
DDP = ("trainer=ddp", *SCENES, "data.batch_size=3")


class Launched:
    """A command in a folder; what it prints goes to a file beside the folder."""

    def __init__(self, command: Sequence[str], folder: Path, **variables: object) -> None:
        self.log = folder.parent / f"{folder.name}-{uuid4().hex}.log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment | {name: str(value) for name, value in variables.items()},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def worker(self, rank: int) -> psutil.Process | None:
        """The process of a rank that it has started."""
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):
                if child.environ().get("RANK") == str(rank):
                    return child
        return None

    def end(self) -> tuple[int, str]:
        """Its exit code, and all that it has printed."""
        try:
            return self.process.wait(timeout=150), self.log.read_text()
        except subprocess.TimeoutExpired:
            self.process.terminate()
            raise


def send(signal: Signals, rank: int, *launchers: Launched) -> None:
    """Sends a signal to one process of a run once an epoch of it is over."""
    while not any("epoch 1/" in launcher.log.read_text() for launcher in launchers):
        time.sleep(0.1)
        for launcher in launchers:
            assert launcher.process.poll() is None, launcher.log.read_text()
    (worker,) = filter(None, (launcher.worker(rank) for launcher in launchers))
    worker.send_signal(signal)


def free_port() -> int:
    with socket.socket() as any_port:
        any_port.bind(("127.0.0.1", 0))
        return int(any_port.getsockname()[1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by two processes of torchrun that nothing has interrupted."""
    folder = tmp_path_factory.mktemp("ddp") / "folder"
    folder.mkdir()
    code, printed = Launched([*TORCHRUN, TRAIN, *DDP, "hydra.run.dir=whole"], folder).end()
    assert code == 0, printed
    for line in ("in each of 2 processes", "epoch 1/20", "epoch 20/20", "test       IoU"):
        assert printed.count(line) == 1, printed
    return folder / "whole"


def test_two_processes_compute_what_one_does_with_batches_of_both(
    whole: Path, tmp_path: Path
) -> None:
    one = train(compose_config(*SCENES, "data.batch_size=6"), tmp_path)
    two = json.loads((whole / "metrics.json").read_text())
    assert two.keys() == one.keys()
    for name, score in one.items():
        if "iou" in name or "accuracy" in name:
            assert two[name] == score, name
        elif "loss" in name:
            assert two[name] == pytest.approx(score, rel=1e-9), name
    ours, theirs = (checkpoints.read(path / "checkpoints/last.ckpt") for path in (whole, tmp_path))
    for name, weight in theirs["state_dict"].items():
        assert torch.allclose(ours["state_dict"][name], weight, rtol=0, atol=1e-9), name
    last, expected = (made["callbacks"]["LastCheckpoint"]["scalars"] for made in (ours, theirs))
    for name in ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/iou"):
        assert last[name] == pytest.approx(expected[name], rel=1e-9), name
    curves, drawn = scalars(whole), scalars(tmp_path)
    assert curves.keys() == drawn.keys()
    for name in ("train/loss", "val/loss"):  # kept in float32
        assert curves[name] == pytest.approx(drawn[name], rel=1e-6)


def test_two_processes_write_what_one_does_and_evaluate_is_one(whole: Path, tmp_path: Path) -> None:
    train(compose_config(*SCENES, "data.batch_size=6", "trainer.max_epochs=1"), tmp_path)

    def files(run_dir: Path) -> list[str]:
        names = [str(path.relative_to(run_dir)) for path in run_dir.rglob("*") if path.is_file()]
        return sorted(re.sub(r"tfevents.*", "tfevents", name) for name in names)

    assert {path.name for path in whole.parent.iterdir()} == {"whole"}
    assert set(files(whole)) - set(files(tmp_path)) <= {
        "checkpoints/previous.ckpt",
        "checkpoints/previous.ckpt.sha256",
    }
    assert files(whole).count("events.out.tfevents") == 2  # training and test
    recorded = json.loads((whole / "metrics.json").read_text())
    assert evaluate(whole)["test/iou"] == recorded["test/iou"]


def test_a_signal_to_one_stops_all_and_the_run_goes_on_to_the_same_bits(whole: Path) -> None:
    """Begun by two agents of torchrun, which have a process each; ended as by srun."""
    folder = whole.parents[1] / "elsewhere"
    folder.mkdir()
    agent = (
        *(*PYTHON, "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{free_port()}"),
        *("--local-addr=127.0.0.1", "-m", TRAIN, *DDP, "hydra.run.dir=cut"),
    )
    agents = [Launched(agent, folder) for _ in range(2)]
    send(SIGTERM, 1, *agents)
    codes, logs = zip(*(launcher.end() for launcher in agents), strict=True)
    printed = "".join(logs)
    assert codes == (1, 1), printed
    assert len(re.findall(r"stopped by SIGTERM: all up to step \d+ is kept", printed)) == 1
    assert "[rank" not in printed  # before each line of a stack trace
    assert not (folder / "cut/metrics.json").exists()

    slurm = {"JOB_ID": 1, "STEP_ID": 0, "STEP_NUM_TASKS": 2, "STEP_NUM_NODES": 1, "NODEID": 0}
    variables: dict[str, object] = {f"SLURM_{name}": value for name, value in slurm.items()}
    variables |= {"SLURM_STEP_NODELIST": "127.0.0.1", "MASTER_PORT": free_port()}
    command = [*PYTHON, TRAIN, "resume=cut"]
    tasks = [
        Launched(command, folder, SLURM_PROCID=task, SLURM_LOCALID=task, **variables)
        for task in range(2)
    ]
    (first, printed), (second, nothing) = (task.end() for task in tasks)
    assert (first, second) == (0, 0), printed + nothing
    assert printed.startswith("goes on    after step")
    assert nothing == ""
    assert outcome(folder / "cut") == outcome(whole)


def test_the_others_end_with_a_message_when_one_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    launcher = Launched([*TORCHRUN, TRAIN, *DDP, "hydra.run.dir=run"], folder)
    send(SIGKILL, 1, launcher)
    started = time.monotonic()
    code, printed = launcher.end()
    assert time.monotonic() - started < 30
    assert code == 1, printed
    assert printed.count("another process of the run has ended, and so this one ends too") == 1
    assert "go on with: torchrun --nproc-per-node=2 -m context_agg.train resume=run" in printed


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("optimizer.lrr=1", "unknown key 'optimizer.lrr'"),
        ("frozen=[nothing]", "frozen=nothing: the network has no such part"),
    ],
    ids=["of the command line", "of building"],
)
def test_a_mistake_is_told_once_and_leaves_nothing(
    wrong: str, message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    code, printed = Launched([*TORCHRUN, TRAIN, *DDP, wrong], folder).end()
    assert code == 1
    assert printed.count(message) == 1, printed
    assert "[rank" not in printed
    assert list(folder.iterdir()) == []


def test_a_run_goes_on_with_as_many_processes_only(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = resume.settings(whole, [])
    monkeypatch.setattr(ranks, "count", lambda: 3)
    with pytest.raises(ValueError, match="has been trained by 2 processes together, and now 3"):
        resume.cut_off(whole, cfg)
