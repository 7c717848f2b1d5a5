"""What a person sees of a run: on a terminal, on a narrow one, in a log, after a cut."""

import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from context_agg.training.learner import Learner
from tests.terminal import Terminal, terminal
from tests.tiny_run import TINY, run


class Killed(BaseException):
    pass


EPOCH = re.compile(
    r"epoch (\d)/(\d)  train loss \S+ accuracy \S+  held-out loss \S+ accuracy \S+  \S+ images/s"
)


def run_on_terminal(run_dir: Path, *overrides: str, width: int = 100) -> Terminal:
    with terminal(width) as screen, redirect_stdout(screen.stream):
        run(run_dir, *overrides)
    return screen


def counts(screen: Terminal) -> list[tuple[int, int]]:
    """Batches that are done, and all, in every state of the bar."""
    found = [re.search(r"(\d+)/(\d+) \[", bar) for bar in screen.bars()]
    assert all(found)
    return [(int(count[1]), int(count[2])) for count in found if count]


def test_one_bar_counts_the_batches_of_all_epochs_and_is_gone_at_the_end(tmp_path: Path) -> None:
    screen = run_on_terminal(tmp_path / "run", "trainer.max_epochs=3", width=120)
    assert counts(screen)[0] == (0, 30)
    assert {total for _, total in counts(screen)} == {30}
    lines = screen.screen()
    epochs = [match.groups() for line in lines if (match := EPOCH.fullmatch(line))]
    assert epochs == [("1", "3"), ("2", "3"), ("3", "3")]
    assert lines[-1].startswith("directory")
    assert not any("training:" in line or "Testing" in line or "it/s" in line for line in lines)


def test_the_time_left_is_that_of_the_whole_run_with_its_validations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock of its own: 10 s for a training step, 100 s for a validation step."""
    now = 0.0

    def taking(method: str, seconds: float) -> None:
        original = getattr(Learner, method)

        def step(self: Learner, batch: Any) -> Any:
            nonlocal now
            now += seconds
            return original(self, batch)

        monkeypatch.setattr(Learner, method, step)

    monkeypatch.setattr("tqdm.std.time", lambda: now)
    taking("training_step", 10)
    taking("validation_step", 100)
    screen = run_on_terminal(tmp_path / "run", "trainer.limit_val_batches=1")
    last = {count: bar for (count, _), bar in zip(counts(screen), screen.bars(), strict=True)}
    assert "[00:50<02:30" in last[5]  # 50 s for 5, so 150 s for 15
    assert "[04:10<01:23" in last[15]  # 250 s for 15, so 83 s for 5


def test_a_run_that_goes_on_counts_from_where_it_was_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("trainer.max_epochs=3", "checkpoint.every_steps=1")
    original, left = Learner.training_step, 15

    def step(self: Learner, batch: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed
        return original(self, batch)

    monkeypatch.setattr(Learner, "training_step", step)
    with pytest.raises(Killed):
        run(tmp_path / "run", *options)
    screen = run_on_terminal(tmp_path / "run", *options)
    assert counts(screen)[0] == (14, 30)
    epochs = [match.groups() for line in screen.screen() if (match := EPOCH.fullmatch(line))]
    assert epochs == [("2", "3"), ("3", "3")]


@pytest.mark.parametrize(
    ("overrides", "total"),
    [
        (["+trainer.accumulate_grad_batches=3"], 20),
        (["trainer.limit_train_batches=0.1"], 2 * 15),  # of 158 batches
        (["trainer.max_epochs=1", "trainer.limit_train_batches=1"], 1),
    ],
)
def test_the_bar_counts_batches_whatever_an_epoch_is(
    overrides: list[str], total: int, tmp_path: Path
) -> None:
    screen = run_on_terminal(tmp_path / "run", *overrides)
    assert {of for _, of in counts(screen)} == {total}


@pytest.mark.parametrize("width", [20, 40])
def test_a_narrow_terminal_shows_the_bar_in_one_line(width: int, tmp_path: Path) -> None:
    screen = run_on_terminal(tmp_path / "run", width=width)
    assert screen.bars()
    assert all(len(bar.split("\n")[0].rstrip()) <= width for bar in screen.bars())
    assert "training:" not in " ".join(screen.screen())


def test_a_log_has_a_line_per_epoch_and_nothing_that_moves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "run", "trainer.max_epochs=3")
    printed = capsys.readouterr()
    assert "\r" not in printed.out
    assert len([line for line in printed.out.splitlines() if EPOCH.fullmatch(line)]) == 3
    log = run_on_terminal(tmp_path / "other", "trainer.max_epochs=3", width=300).screen()
    names = [line.split()[0] for line in log]
    assert [line.split()[0] for line in printed.out.splitlines() if line] == names


@pytest.mark.slow
def test_a_person_sees_what_the_run_says_and_nothing_else(tmp_path: Path) -> None:
    """As a process, with messages on the same terminal; then it goes on with more epochs."""
    command = [sys.executable, "-m", "context_agg.train"]
    start = [*command, *TINY, "trainer.max_epochs=2", "hydra.run.dir=run"]
    known = {"model", "parameters", "backprop", "data", "device", "directory", "if", "epoch"}
    known |= {"test", "goes", "compiled"}  # the last only if no run before has compiled the layers
    for line, epochs in ((start, 2), ([*command, "resume=run", "trainer.max_epochs=3"], 1)):
        with terminal(150) as screen:
            subprocess.run(
                line, cwd=tmp_path, stdout=screen.stream, stderr=screen.stream, check=True
            )
        lines = screen.screen()
        assert [text for text in lines if text.split()[0] not in known] == []
        assert len([text for text in lines if EPOCH.fullmatch(text)]) == epochs
        assert screen.bars()
