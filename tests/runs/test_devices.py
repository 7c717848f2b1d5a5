"""Each job of a sweep sees one CUDA device, and no two jobs see the same one at a time."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from context_agg.runs import devices, locks
from context_agg.runs.sweep import JOBLIB_LAUNCHER, Sweep
from tests.tiny_run import TINY

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("count", "environment", "names"),
    [
        (0, {}, []),
        (3, {}, ["0", "1", "2"]),
        (2, {"CUDA_VISIBLE_DEVICES": "5,2"}, ["5", "2"]),
        (1, {"CUDA_VISIBLE_DEVICES": "1,9"}, ["1"]),  # CUDA ends the list at a wrong number
        (2, {"CUDA_VISIBLE_DEVICES": "GPU-8a,MIG-1f/2"}, ["GPU-8a", "MIG-1f/2"]),
        (0, {"CUDA_VISIBLE_DEVICES": ""}, []),
    ],
)
def test_devices_have_the_names_that_cuda_knows_them_by(
    count: int, environment: dict[str, str], names: list[str]
) -> None:
    assert devices.names(count, environment) == names


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("jobs", [1, 2, 5, 16])
def test_jobs_are_spread_evenly(count: int, jobs: int) -> None:
    names = [str(number) for number in range(count)]
    loads = [0] * count
    for slot in range(jobs):
        loads[names.index(devices.device_of(slot, names))] += 1
    assert max(loads) - min(loads) <= 1
    assert sum(loads) == jobs


def test_a_process_keeps_the_device_that_no_other_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(devices, "_taken", False)
    other = locks.take(tmp_path / "0")  # as another process would
    assert other is not None
    for _ in range(2):  # two jobs
        devices.take_device(["a", "b"], tmp_path)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "b"
    os.close(other)


@pytest.mark.parametrize(
    ("count", "accelerator", "asked", "jobs"),
    [(3, "auto", -1, 3), (0, "auto", -1, -1), (3, "cpu", -1, -1), (2, "cuda", 4, 4)],
)
def test_as_many_jobs_run_at_a_time_as_there_are_devices(
    count: int,
    accelerator: str,
    asked: int,
    jobs: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On the CPU as many as there are cores, -1; and as many as are asked for."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setattr("context_agg.cli.signals.lead_workers", lambda: None)
    launcher = {"_target_": JOBLIB_LAUNCHER, "n_jobs": asked}
    config = sweep_config(tmp_path, launcher, accelerator)
    sweep = Sweep()
    sweep.on_multirun_start(config)
    assert config.hydra.launcher.n_jobs == jobs
    sweep._claim.close()


def sweep_config(folder: Path, launcher: dict[str, object], accelerator: str) -> DictConfig:
    """What `on_multirun_start` reads of a configuration."""
    return OmegaConf.create(
        {
            "seed": 0,
            "trainer": {"accelerator": accelerator},
            "hydra": {
                "launcher": launcher,
                "overrides": {"task": ["seed=0,1"], "hydra": []},
                "sweeper": {"params": None},
                "job": {"override_dirname": ""},
                "sweep": {"dir": str(folder / "here"), "subdir": "seed-${seed}"},
            },
        }
    )


@pytest.mark.slow
def test_no_two_jobs_see_the_same_device_at_a_time(tmp_path: Path) -> None:
    """There are two devices as far as the sweep can tell; the jobs find none, and use the CPU."""
    program = (
        "import torch; torch.cuda.device_count, torch.cuda.is_available = lambda: 2, lambda: False;"
        "from context_agg.train import main; main()"
    )
    tiny = [line for line in TINY if line != "trainer.accelerator=cpu"]
    sweep = ["hydra/launcher=joblib", "hydra.sweep.dir=here", "backprop=auto", "seed=0,1,2,3"]
    options = ["trainer.max_epochs=2", "+callbacks.see._target_=tests.see.See"]
    result = subprocess.run(
        [sys.executable, "-c", program, "-m", *tiny, *sweep, *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    seen = [json.loads(file.read_text()) for file in tmp_path.rglob("seen.json")]
    assert len(seen) == 4
    assert {run["devices"] for run in seen} == {"0", "1"}
    for one, other in itertools.combinations(seen, 2):
        if one["began"] < other["ended"] and other["began"] < one["ended"]:
            assert one["devices"] != other["devices"]
        assert (one["process"] == other["process"]) == (one["devices"] == other["devices"])
