"""A search shares its trials between processes, outlives them, and leaves its best settings."""

import csv
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: the extra 'tune'")

from optuna.trial import TrialState  # noqa: E402

from context_agg.cli.compose import compose_config  # noqa: E402
from context_agg.cli.errors import UserError  # noqa: E402
from context_agg.cli.space import Range, Space, read_space  # noqa: E402
from context_agg.runs import locks, search_results  # noqa: E402
from context_agg.runs.search import Search  # noqa: E402
from context_agg.training.learner import Learner  # noqa: E402
from context_agg.tune import tune  # noqa: E402
from tests.command import call  # noqa: E402
from tests.tiny_run import TINY, scalars, weights  # noqa: E402

SETTINGS = [
    *TINY,
    "trainer.max_epochs=3",
    "callbacks.best_checkpoint.monitor=val/loss",
    "checkpoint.every_steps=3",
]
KEYS = {"optimizer.lr": Range(1e-4, 0.1, log=True), "model.init": ["identity", "normal"]}
SPACE = Space("val/loss", SETTINGS, KEYS)
FILE = """\
monitor: val/loss
settings: {model.channels: 2, data.batch_size: 8, trainer.accelerator: cpu, trainer.max_epochs: 2,
  trainer.limit_train_batches: 10, trainer.limit_val_batches: 2, trainer.limit_test_batches: 2}
space:
  optimizer.lr: {low: 0.0001, high: 0.1, log: true}
  model.init: [identity, normal]
"""


class Killed(BaseException):
    pass


@pytest.fixture(autouse=True)
def _few_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds, so that only the slow tests draw them."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(search_results, "PLOTS", {})


@pytest.fixture
def dies(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The numbers of the training steps, from 1 and over all runs, at which the process ends."""
    original, steps, moments = Learner.training_step, 0, list[int]()

    def step(self: Learner, batch: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps in moments:
            raise Killed
        return original(self, batch)

    monkeypatch.setattr(Learner, "training_step", step)
    yield moments
    assert steps > max(moments, default=0)


@pytest.mark.slow
def test_a_search_that_was_killed_ends_as_one_that_was_not(tmp_path: Path, dies: list[int]) -> None:
    """No trial is lost, none stays behind, and the runs are the same bit for bit."""
    tune(tmp_path / "whole", SPACE, 4)
    dies += [4 * 30 + 5, 4 * 30 + 55]  # in the first run, and in the second
    for _ in range(2):
        with pytest.raises(Killed):
            tune(tmp_path / "killed", SPACE, 4)
    tune(tmp_path / "killed", SPACE, 4)
    whole, killed = (Search(tmp_path / name, SPACE).study.trials for name in ("whole", "killed"))
    assert [trial.params for trial in killed] == [trial.params for trial in whole]
    assert [trial.intermediate_values for trial in killed] == [
        trial.intermediate_values for trial in whole
    ]
    assert [(trial.state, trial.value) for trial in killed] == [
        (TrialState.COMPLETE, trial.value) for trial in whole
    ]
    for number in range(4):
        run_dirs = [tmp_path / name / f"trial-{number:04d}" for name in ("whole", "killed")]
        first, second = (weights(run_dir) for run_dir in run_dirs)
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_value_of_a_trial_is_that_of_its_best_epoch(tmp_path: Path) -> None:
    tune(tmp_path, SPACE, 1)
    (trial,) = Search(tmp_path, SPACE).study.trials
    losses = scalars(tmp_path / "trial-0000")["val/loss"]
    assert trial.value == min(losses)
    assert list(trial.intermediate_values.values()) == losses


@pytest.mark.parametrize(("others", "epochs"), [(0.0, 1), (1e9, 3)])
def test_a_trial_below_the_median_of_the_others_is_given_up(
    tmp_path: Path, others: float, epochs: int, capsys: pytest.CaptureFixture[str]
) -> None:
    search = Search(tmp_path, SPACE)
    values = [others - 1, others, others, others, others + 1]
    for value in values:
        with search.trial(5) as trial:
            assert trial is not None
            search.suggest(trial)
            trial.report(value, 0)
            search.study.tell(trial, value)
    tune(tmp_path, SPACE, 6)
    last = search.study.trials[-1]
    assert len(last.intermediate_values) == epochs
    given_up = last.intermediate_values[0] > statistics.median(values)
    assert last.state is (TrialState.PRUNED if given_up else TrialState.COMPLETE)
    assert ("given up" in capsys.readouterr().out) == given_up
    assert (tmp_path / "trial-0005" / "metrics.json").is_file() != given_up


def test_a_trial_that_fails_does_not_end_the_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = Space("val/loss", SETTINGS, {"optimizer.lr": ["1e30"], "seed": Range(0, 9)})
    with pytest.raises(UserError, match=r"no trial in .* has a result"):
        tune(tmp_path, space, 2)
    trials = Search(tmp_path, space).study.trials
    assert [trial.state for trial in trials] == [TrialState.FAIL] * 2
    assert "the loss is nan" in trials[0].user_attrs["error"]
    assert capsys.readouterr().out.count("failed: ") == 2


def test_a_trial_that_ends_every_process_fails_in_the_end(tmp_path: Path) -> None:
    """Three processes may end in the same epoch: what stops them by a signal does not count."""
    stopped, ended = True, False
    ends = [(0, ended), (0, stopped), (0, stopped), (0, ended), (1, ended)]
    for epochs, how in [*ends, (1, ended), (1, ended), (1, ended)]:
        search = Search(tmp_path, SPACE)
        with search.trial(1) as trial:
            assert trial is not None
            assert trial.number == 0
            for epoch in range(len(search.reported(trial)), epochs):
                trial.report(1.0, epoch)
            if how is stopped:
                search.give_back(trial)
    search = Search(tmp_path, SPACE)
    with search.trial(1) as trial:
        assert trial is None
    (failed,) = search.study.trials
    assert failed.state is TrialState.FAIL
    assert failed.user_attrs["error"] == "3 processes have ended in epoch 2"


def test_a_trial_without_a_value_fails(tmp_path: Path) -> None:
    """The IoU of no class is not a number."""
    search = Search(tmp_path, SPACE)
    with search.trial(1) as trial:
        assert trial is not None
        search.tell(trial, [float("nan")])
    assert search.best() is None
    assert search.study.trials[0].user_attrs["error"] == "val/loss is nan"


def test_a_trial_that_ends_while_another_process_looks_for_one_stays_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Search(tmp_path, SPACE), Search(tmp_path, SPACE)
    with ExitStack() as working:
        trial = working.enter_context(first.trial(1))
        assert trial is not None

        def end_the_first(file: Path) -> int | None:
            first.tell(trial, [1.0])
            working.close()
            return locks.take(file)

        monkeypatch.setattr("context_agg.runs.search.take", end_the_first)
        with second.trial(1) as other:
            assert other is None
    assert second.study.trials[0].value == 1.0


def test_a_trial_that_a_process_works_on_is_left_to_it(tmp_path: Path) -> None:
    first, second = Search(tmp_path, SPACE), Search(tmp_path, SPACE)
    with first.trial(2) as one, second.trial(2) as two, first.trial(2) as three:
        assert one is not None
        assert two is not None
        assert (one.number, two.number, three) == (0, 1, None)


@pytest.mark.slow
def test_a_search_leaves_a_table_figures_and_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(FILE)
    assert call("tune", "mine.yaml", "--trials", "2", "seed=1") == 0
    folder = Path("outputs/tune/mine")
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    values = [float(row["val/loss"]) for row in rows]
    best = rows[values.index(min(values))]
    assert [row["trial"] for row in rows] == ["trial-0000", "trial-0001"]
    assert [row["epochs"] for row in rows] == ["2", "2"]
    pictures = {file.name for file in folder.glob("*.png")}
    assert pictures == {"history.png", "epochs.png", "values.png", "importances.png"}
    printed = capsys.readouterr().out
    assert f"best       {best['trial']}" in printed
    assert "epoch 1/2" not in printed  # this is in the runs' own logs
    assert "epoch 2/2" in (folder / "trial-0000" / "train.log").read_text()
    assert "train --config-dir outputs/tune/mine experiment=best" in printed
    cfg = compose_config("experiment=best", config_dir=str(folder))
    assert cfg.optimizer.lr == float(best["optimizer.lr"])
    assert (cfg.model.init, cfg.seed) == (best["model.init"], 1)
    # Called again it has nothing to do; with other settings it is refused.
    assert call("tune", "mine.yaml", "--trials", "2", "seed=1") == 0
    refused = call("tune", "mine.yaml", "--trials", "2", "seed=2")
    assert "holds a search with another choice of settings" in str(refused)


def test_nothing_is_written_after_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(FILE)
    assert "nowhere.yaml: No such file" in str(call("tune", "nowhere.yaml"))
    assert "did you mean 'optimizer.lr'" in str(call("tune", "mine.yaml", "optimizer.lrr=1"))
    assert "--trials 0 must be 1 or more" in str(call("tune", "mine.yaml", "--trials", "0"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    refused = call("tune", "mine.yaml", "--out", "other")
    assert "other holds files, but no search" in str(refused)
    assert os.listdir("other") == ["file"]
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "study.db").write_text("nothing" * 1000)
    assert "cannot read damaged/study.db" in str(call("tune", "mine.yaml", "--out", "damaged"))
    assert not Path("outputs").exists()


def test_without_optuna_the_message_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "tune needs Optuna: pip install" in str(call("tune", "mine.yaml"))


@pytest.mark.slow
def test_processes_share_a_search_and_one_that_is_killed_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    command = [sys.executable, "-m", "context_agg.tune", "mine.yaml", "--trials", "4"]
    processes = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    folder = tmp_path / "outputs" / "tune" / "mine"
    until = time.monotonic() + 120
    while not list(folder.glob("trial-*/checkpoints")):
        assert time.monotonic() < until
        time.sleep(0.1)
    processes[0].send_signal(signal.SIGKILL)
    processes[1].send_signal(signal.SIGTERM)
    printed = "".join(process.communicate(timeout=300)[0] for process in processes)
    codes = [process.returncode for process in processes]
    assert codes == [-signal.SIGKILL, 128 + signal.SIGTERM, 0]
    space = read_space(tmp_path / "mine.yaml")
    trials = Search(folder, space).study.trials
    assert [trial.number for trial in trials] == list(range(4))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    ended = [line.partition(" ")[0] for line in printed.splitlines() if line.startswith("trial-")]
    assert sorted(ended) == [f"trial-{number:04d}" for number in range(4)]  # each in one process
