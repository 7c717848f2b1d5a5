"""Random command lines: success or one message, and no file lost."""

import sys
from pathlib import Path

import pytest

from studies.command_lines import CommandLine, command_line, in_this_process, judge, rows

SILENT = ("success", "refused", "ended")


@pytest.mark.slow
def test_random_command_lines_end_in_success_or_one_message(tmp_path: Path) -> None:
    found = list(rows(range(60), tmp_path))
    wrong = [row for row in found if row["outcome"] not in SILENT]
    assert wrong == []
    outcomes = {row["outcome"] for row in found}
    assert {"success", "refused"} <= outcomes
    assert max(float(row["seconds"]) for row in found) < 60


@pytest.mark.slow
def test_random_command_lines_as_processes(tmp_path: Path) -> None:
    for row in rows(range(100, 102), tmp_path, as_processes=True):
        assert row["outcome"] in SILENT, row


def test_a_seed_is_a_command_line() -> None:
    lines = [command_line(seed) for seed in range(300)]
    assert lines == [command_line(seed) for seed in range(300)]
    assert len(set(lines)) > 250
    assert {line.command for line in lines} == {
        "train",
        "check",
        "evaluate",
        "predict",
        "export",
        "report",
    }


BEFORE = {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "after", "outcome"),
    [
        (0, "done", "", BEFORE, "success"),
        (1, "", "no such key", BEFORE, "refused"),
        (1, "epoch 1", "no space left", {**BEFORE, "run": b""}, "ended"),
        (None, "", "", BEFORE, "WRONG: it hangs"),
        (1, "", "Traceback (most recent call last):\nKeyError", BEFORE, "WRONG: a stack trace"),
        (0, "done", "", {}, "WRONG: mine.txt lost"),
        (1, "", "no", {"mine.txt": b""}, "WRONG: mine.txt lost"),
        (0, "done", "a warning", BEFORE, "WRONG: chatter"),
        (1, "", "", BEFORE, "WRONG: silent"),
        (1, "", "1\n2\n3", BEFORE, "WRONG: 3 lines"),
        (1, "", "no", {**BEFORE, "outputs": b""}, "WRONG: left outputs"),
    ],
)
def test_what_is_wrong_is_seen(
    code: int | None, stdout: str, stderr: str, after: dict[str, bytes], outcome: str
) -> None:
    assert judge(code, stdout, stderr, BEFORE, after, most=2).startswith(outcome)


def test_a_command_leaves_its_process_as_it_was(tmp_path: Path) -> None:
    folder, arguments = Path.cwd(), sys.argv
    code, _, stderr = in_this_process(CommandLine("train", ("nix=1",)), tmp_path)
    assert code == 1
    assert "nix" in stderr
    assert (Path.cwd(), sys.argv) == (folder, arguments)
