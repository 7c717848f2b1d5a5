"""A sweep names its runs, separates their output, survives failures and writes a report."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from context_agg.runs.sweep import run_name
from tests.command import call
from tests.fake_mnist import write_mnist
from tests.tiny_run import TINY, scalars

SWEEP = [*TINY, "trainer.max_epochs=1", "hydra.sweep.dir=here"]


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


def sweep(*overrides: str) -> int | str | None:
    """Calls the command in this process; returns its exit code."""
    return call("train", "-m", *overrides)


def runs(folder: Path) -> dict[str, int]:
    """The time at which each finished run below the folder finished."""
    files = sorted(folder.rglob("metrics.json"))
    return {str(file.parent.relative_to(folder)): file.stat().st_mtime_ns for file in files}


def test_a_sweep_makes_stable_directories_and_does_not_repeat_finished_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = [*SWEEP, "backprop=auto,broken", "seed=0,1"]
    assert sweep(*options) == 0
    first = runs(tmp_path / "here")
    assert list(first) == [f"backprop-{b}/seed-{s}" for b in ("auto", "broken") for s in (0, 1)]
    printed = capsys.readouterr().out
    assert "| auto | 2 |" in printed
    assert "epoch 1/1" not in printed  # this is in the runs' own logs
    cut_off = tmp_path / "here" / "backprop-auto" / "seed-1"
    assert "epoch 1/1" in (cut_off / "train.log").read_text()
    (cut_off / "metrics.json").unlink()
    assert sweep(*options) == 0
    assert capsys.readouterr().out.count("(finished before)") == 3
    again = runs(tmp_path / "here")
    assert {run for run in again if again[run] != first[run]} == {"backprop-auto/seed-1"}
    assert len(scalars(cut_off)["val/loss"]) == 1
    other = sweep(*options, "optimizer.lr=0.01")
    assert isinstance(other, str)
    assert other.count("other settings of optimizer.lr") == 4
    assert runs(tmp_path / "here") == again


def test_a_sweep_is_named_after_the_keys_it_varies_and_what_it_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("context_agg.train.train", pretend)
    assert sweep("seed=0,1", "model=large", "backprop=auto") == 0
    assert sweep("backprop=auto", "seed=0,1,2", "model=large", "seed=7") == 0
    assert sweep("seed=0,1", "backprop=auto,manual") == 0
    folders = {str(file.parent.parent) for file in Path("outputs").rglob("seed-*/train.log")}
    assert folders == {
        "outputs/sweep_backprop-auto_model-large",
        "outputs/sweep_backprop/backprop-auto",
        "outputs/sweep_backprop/backprop-manual",
    }
    runs_of_large = Path("outputs/sweep_backprop-auto_model-large").glob("seed-*")
    assert sorted(run_dir.name for run_dir in runs_of_large) == ["seed-0", "seed-1", "seed-7"]


@pytest.mark.parametrize("seeds", ["seed=0,1", "++seed=0,1"])
def test_a_sweep_counts_the_runs_that_have_finished_before(
    seeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("context_agg.train.train", pretend)
    done = Path("here/backprop-auto/seed-1")
    done.mkdir(parents=True)
    for name in (".context_agg", "metrics.json"):
        (done / name).touch()
    (done.parents[1] / ".context_agg").touch()
    sweep(*SWEEP, "backprop=auto,manual", seeds)
    assert "here: 4 runs: 1 finished before, 3 to begin\n" in capsys.readouterr().out


def test_a_sweep_that_a_file_describes_has_the_file_s_name_and_needs_no_m(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if the command line gives a single one of the values that the file sweeps over."""
    write_mnist(tmp_path / "DIR")
    monkeypatch.setenv("CONTEXT_AGG_DATA", str(tmp_path / "DIR"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("context_agg.train.train", pretend)
    basic = "hydra/launcher=basic"
    assert call("train", "experiment=digits/backprop", basic, "backprop=auto", "seed=1,2") == 0
    assert call("train", "experiment=post/broken", basic, "optimizer.lr=0.1") == 0
    folders = {str(file.parent) for file in Path("outputs").rglob("train.log")}
    assert folders == {
        *(
            f"outputs/digits/backprop/backprop-auto_model.init-{init}/seed-{seed}"
            for init in ("identity", "normal")
            for seed in (1, 2)
        ),
        *(f"outputs/post/broken/seed-{seed}" for seed in (0, 1, 2)),
    }


def test_a_folder_of_experiments_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("context_agg.train.train", pretend)
    mine = tmp_path / "mine" / "experiment" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    text = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {backprop: '%s'}}}\n"
    mine.write_text(text % "auto,brokn")
    given = ("--config-dir", "mine", "experiment=mine")
    assert "unknown backprop='brokn'; choose one of auto" in str(call("train", *given))
    assert "did you mean 'optimizer.lr'" in str(call("train", *given, "optimizer.lrr=1"))
    mine.write_text(text.replace("backprop", "optimizer.lrr") % "1,2")
    assert "unknown key 'optimizer.lrr' in optimizer.lrr=1" in str(call("train", *given))
    assert not Path("outputs").exists()
    mine.write_text(text % "auto,broken")
    assert call("train", *given) == 0
    folders = {str(file.parent) for file in Path("outputs").rglob("train.log")}
    runs = (f"backprop-{backprop}/seed-0" for backprop in ("auto", "broken"))
    assert folders == {f"outputs/sweep_backprop_experiment-mine/{run}" for run in runs}


def pretend(cfg: object, output_dir: Path, model: str, shown: object) -> dict[str, float]:
    print("trained")
    return {"test/accuracy": 0.5, "test/loss": 1.0, "epochs": 1, "seconds": 2.0}


@pytest.mark.slow
def test_failed_runs_do_not_stop_the_others_and_are_named_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(run_dir: Path, name: str) -> None:
        if "normal" in str(run_dir):
            raise ZeroDivisionError("in the middle")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("context_agg.runs.curves.save_curves", explode)
    code = sweep(*SWEEP, "backprop=auto", "start_from=null,nowhere", "model.init=normal,identity")
    assert isinstance(code, str)
    lines = code.splitlines()
    assert lines[0].startswith("3 failed")
    assert [line.partition(":")[0].strip() for line in lines[1:]] == [
        "model.init-identity_start_from-nowhere/seed-0",
        "model.init-normal_start_from-nowhere/seed-0",
        "model.init-normal_start_from-null/seed-0",
    ]
    assert "there is no folder nowhere" in lines[2]
    assert "in the middle" in lines[3]
    assert list(runs(tmp_path / "here")) == ["model.init-identity_start_from-null/seed-0"]
    # Runs that failed before they started are gone; one that failed in the middle is kept.
    assert {file.name for file in (tmp_path / "here").iterdir() if file.is_dir()} == {
        "model.init-identity_start_from-null",
        "model.init-normal_start_from-null",
    }
    captured = capsys.readouterr()
    assert captured.err.count("Traceback") == 1
    assert "| identity, start_from null | 1 (example) |" in captured.out
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert sweep(*SWEEP, "backprop=auto", "model.init=normal,identity") == 0
    with (tmp_path / "here" / "runs.csv").open() as file:
        names = [row["run"] for row in csv.DictReader(file)]
    assert "model.init-normal/seed-0" in names


@pytest.mark.slow
def test_jobs_side_by_side_as_a_process(tmp_path: Path) -> None:
    options = [*SWEEP, "start_from=null,nowhere", "seed=0,1", "hydra/launcher=joblib"]
    result = subprocess.run(
        [sys.executable, "-m", "context_agg.train", "-m", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 1
    assert "2 failed" in result.stderr
    assert "Traceback" not in result.stderr
    assert "| start_from null | 2 |" in result.stdout
    assert list(runs(tmp_path / "here")) == ["start_from-null/seed-0", "start_from-null/seed-1"]
    for seed in (0, 1):  # the lines of each run are together
        log = (tmp_path / "here" / "start_from-null" / f"seed-{seed}" / "train.log").read_text()
        assert log.count("epoch 1/1") == 1
