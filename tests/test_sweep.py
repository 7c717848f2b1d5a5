"""A sweep's run directories are named after what varies in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from context_agg.sweep import run_name
from tests.test_train import TINY


@pytest.mark.parametrize(
    ("varied", "seed", "name"),
    [
        ("", 3, "seed-3"),
        ("backprop=auto", 0, "backprop-auto/seed-0"),
        ("backprop=auto,model.init=normal", 1, "backprop-auto_model.init-normal/seed-1"),
        ("+model.dilations=[1,2, 4]", 0, "model.dilations-1_2_-4/seed-0"),
        ("data.root='/a b/../c=d'", 0, "data.root-a-b-..-c-d/seed-0"),
    ],
)
def test_names_hold_no_characters_that_hydra_or_a_shell_would_trip_over(
    varied: str, seed: int, name: str
) -> None:
    assert run_name(varied, seed) == name


def test_a_sweep_makes_stable_directories_and_does_not_repeat_finished_runs(
    tmp_path: Path,
) -> None:
    def sweep(*overrides: str) -> subprocess.CompletedProcess[str]:
        options = [*TINY, "trainer.max_epochs=1", "backprop=auto,broken", "seed=0,1"]
        return subprocess.run(
            [sys.executable, "-m", "context_agg.train", "-m", *options, *overrides],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    first = sweep()
    assert first.returncode == 0, first.stderr
    runs = {
        str(file.parent.relative_to(tmp_path / "outputs" / "sweep"))
        for file in tmp_path.rglob("metrics.json")
    }
    assert runs == {f"backprop-{b}/seed-{s}" for b in ("auto", "broken") for s in (0, 1)}
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("metrics.json")}
    cut_off = min(times)
    cut_off.unlink()
    second = sweep()
    assert second.stdout.count("finished before") == 3
    again = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("metrics.json")}
    assert {file for file in again if again[file] != times[file]} == {cut_off}
    assert len(list(cut_off.parent.glob("events.out.tfevents.*"))) == 2  # of fit and of test
    other = sweep("optimizer.lr=0.01")
    assert other.returncode != 0
    assert "other settings of optimizer" in other.stderr
