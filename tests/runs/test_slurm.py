"""A sweep as jobs of Slurm comes to what it comes to on one machine, even if a job is preempted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

from context_agg.cli import signals
from context_agg.cli.compose import compose_config
from tests import slurm
from tests.command import call
from tests.preempted import READY, STEP
from tests.tiny_run import TINY, run

ROOT = Path(__file__).parents[2]
TIMES = ("seconds", "train/images_per_second")  # all that may differ
LONG = 600  # seconds, for what takes half a minute on an idle machine
SWEEP = [
    *TINY,
    "trainer.max_epochs=2",
    "backprop=auto,manual_torch",
    "seed=0,1",
    "hydra.sweep.dir=here",
    "+callbacks.hold._target_=tests.preempted.Hold",
]
JOBS = {  # the environment of a job
    "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
    "OMP_NUM_THREADS": "1",
}
SMALL = ["gpus_per_node=null", "cpus_per_task=1", "mem_gb=2", "timeout_min=60"]


@pytest.mark.slurm
def test_a_sweep_on_slurm_ends_as_on_one_machine_with_a_job_preempted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra 'slurm'")
    skip_without_slurm()
    local, cluster = tmp_path / "local", tmp_path / "cluster"
    for folder in (local, cluster):
        folder.mkdir()
    monkeypatch.chdir(local)
    assert call("train", "-m", *SWEEP) == 0
    options = [*SWEEP, "hydra/launcher=slurm", *(f"hydra.launcher.{key}" for key in SMALL)]
    with (
        slurm.one_node(JOBS) as environment,
        (cluster / "printed").open("w") as printed,
        subprocess.Popen(
            [sys.executable, "-m", "context_agg.train", "-m", *options],
            cwd=cluster,
            env=environment,
            stdout=printed,
            stderr=printed,
        ) as submitter,
    ):
        try:
            wait_for(lambda: submitter.poll() is not None or list(cluster.rglob(READY)))
            # A step, as scancel repeats the signal to a job that is being requeued.
            number = slurm.call(environment, "squeue", "--noheader", "-j", "1_0", "-o", "%A")
            slurm.call(environment, "scancel", "--signal=USR2", f"{number.strip()}.0")
            submitter.wait(timeout=LONG)
        finally:
            submitter.kill()
    assert submitter.returncode == 0, (cluster / "printed").read_text()
    assert results(cluster) == results(local)
    preempted = cluster / "here" / "backprop-auto" / "seed-0"
    log = (preempted / "train.log").read_text()
    assert f"goes on    after step {STEP + 1}" in log
    assert log.count("goes on    ") == 1
    (text,) = (file.read_text() for file in cluster.rglob("1_0_0_log.out"))
    assert "Requeued job 1_0" in text
    for run_dir in (file.parent for file in cluster.rglob("metrics.json")):
        ours, theirs = (
            torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
            for folder in (run_dir, local / run_dir.relative_to(cluster))
        )
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.slurm
def test_two_processes_of_srun_train_one_network_as_one_process_does(tmp_path: Path) -> None:
    """In float32, so within rounding; and no library says anything."""
    skip_without_slurm()
    together = [*TINY, "trainer=ddp", "data.batch_size=4", "hydra.run.dir=run"]
    with slurm.one_node(JOBS) as environment:
        result = subprocess.run(
            [
                *("srun", "--ntasks-per-node=2", "-K", sys.executable, "-m", "context_agg.train"),
                *(*together, "trainer.max_epochs=2"),
            ],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONG,
            check=False,
        )
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
    assert "in each of 2 processes, together 8 images a batch" in result.stdout
    assert result.stdout.count("epoch 2/2") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    alone = run(tmp_path / "alone")
    two = json.loads((tmp_path / "run" / "metrics.json").read_text())
    for name in alone.keys() - set(TIMES):
        assert two[name] == pytest.approx(alone[name], rel=1e-5), name


@pytest.mark.slurm
def test_a_test_that_fails_leaves_no_daemon_and_no_job() -> None:
    skip_without_slurm()
    conf = ""

    def fail_with_a_job() -> None:
        nonlocal conf
        with slurm.one_node({}) as environment:
            conf = environment["SLURM_CONF"]
            slurm.call(environment, "sbatch", "--output=/dev/null", "--wrap", "exec sleep 1000")
            wait_for(lambda: any(job.name() == "sleep" for job in slurm.processes(conf)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_with_a_job()
    assert slurm.processes(conf) == []
    assert not Path(conf).exists()


def skip_without_slurm() -> None:
    if absent := slurm.missing():
        pytest.skip(f"not installed: {', '.join(absent)} (slurm-wlm, slurm-client and munge)")


def results(folder: Path) -> dict[str, dict[str, float]]:
    """The scores of every run below a folder, without its times."""
    found = {}
    for file in sorted(folder.rglob("metrics.json")):
        scores = json.loads(file.read_text())
        name = str(file.parent.relative_to(folder))
        found[name] = {key: value for key, value in scores.items() if key not in TIMES}
    assert len(found) == 4
    return found


def wait_for(ready: Callable[[], object]) -> None:
    until = time.monotonic() + LONG
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_time_gpus_memory_and_partition_are_settings() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra 'slurm'")
    chosen = ["timeout_min=60", "partition=long", "gpus_per_node=2", "mem_gb=8"]
    lines = ["hydra/launcher=slurm", *(f"hydra.launcher.{key}" for key in chosen)]
    launcher = compose_config(*lines, hydra=True).hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    assert [f"{key}={launcher[key]}" for key in ("timeout_min", "partition")] == chosen[:2]
    assert [f"{key}={launcher[key]}" for key in ("gpus_per_node", "mem_gb")] == chosen[2:]


def test_without_the_plugin_the_message_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hydra.core.config_store import ConfigStore

    repo = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(repo, "submitit_slurm.yaml", raising=False)
    refused = str(call("train", "-m", "seed=0,1", "hydra/launcher=slurm"))
    assert refused.startswith("hydra/launcher=slurm needs hydra-submitit-launcher: pip install")


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ([], 'Could not detect "srun"'),
        (["srun", "sbatch"], "sbatch: error: invalid partition specified: gpu"),
    ],
    ids=["no cluster", "no such partition"],
)
def test_what_slurm_refuses_is_one_message(
    programs: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="the extra 'slurm'")
    for name in programs:
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)  # pytest's own cannot go to a job
    monkeypatch.chdir(tmp_path)
    message = str(call("train", "-m", *TINY, "seed=0,1", "hydra/launcher=slurm"))
    assert message.startswith(said)
    assert message.endswith("hydra/launcher=joblib runs a sweep on one machine")
    assert not list(tmp_path.rglob("train.log"))


@pytest.mark.parametrize("done", [False, True])
def test_the_handler_of_a_scheduler_acts_when_its_job_hands_over(
    monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """At once before the job and after it; not at all if the job is done by then."""
    acted: list[int] = []

    def requeue(number: int, frame: FrameType | None) -> None:
        acted.append(number)

    def raise_usr2() -> Any:
        os.kill(os.getpid(), signal.SIGUSR2)

    monkeypatch.setattr(signals, "_received", None)
    monkeypatch.setattr(signals, "_scheduler", None)
    before = signal.signal(signal.SIGUSR2, requeue)
    try:
        signals.hold(signal.Signals.SIGUSR2)
        signals.at_once(lambda: pytest.fail("the job must not end here"))
        raise_usr2()
        assert acted == []
        with pytest.raises(signals.Stopped):
            signals.check()
        signals.hand_over(done=done)
        assert acted == ([] if done else [signal.SIGUSR2])
        raise_usr2()
        assert acted[-1] == signal.SIGUSR2
    finally:
        signals.at_once(None)
        signal.signal(signal.SIGUSR2, before)
