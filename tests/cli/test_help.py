"""Every command says how it is called, whatever the program is called by."""

import pytest

from tests.command import call

COMMANDS = ("train", "check", "evaluate", "predict", "export", "report", "exercise")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_the_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not call(name, "--help")
    first, *_ = (line for line in capsys.readouterr().out.splitlines() if "python -m" in line)
    assert first.removeprefix("usage: ").strip().startswith(f"python -m context_agg.{name} ")


def test_the_package_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("__main__") == 0
    listed = capsys.readouterr().out
    assert all(f"python -m context_agg.{name} " in listed for name in COMMANDS)
    assert "not a command by itself" in str(call("__main__", "train", "model=basic"))
