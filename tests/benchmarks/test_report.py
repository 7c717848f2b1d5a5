"""Records have their fields, and tables and figures show them."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import commands, ops, record, report, scaling, turns
from benchmarks.limit import Limit
from benchmarks.problem import Convolution, Problem

HEAD = {"date", "minutes", "machine", "versions", "measurements"}


def timed(*milliseconds: float) -> dict[str, Any]:
    return {"error": 1e-6, "mebibytes": 10.0, "milliseconds": list(milliseconds)}


def measured(channels: int, peers: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "channels": channels,
        "batch": 2,
        "side": 5,
        "dilations": [1],
        "threads": 2,
        "gigaflops": 0.4,
        "limit_gigaflops_per_second": [80.0, 100.0, 90.0],
        "others_percent": [0.0, 10.0, 20.0],
        "peers": peers,
        **more,
    }


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for records, instead of docs/results."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def records(results: Path) -> Path:
    """Small records: ours takes 10 ms at best, Keras 36 and Flax 20."""
    peers = {"ours": timed(10, 20, 12), "keras": timed(36, 80, 36), "flax": timed(20, 60, 30)}
    steps = [measured(channels, peers) for channels in (8, 16, 32)]
    sizes = {"batch": (1, 8), "channels": (1, 2), "side": (8, 16), "dilation": (1, 2)}
    scaled = [
        measured(8, {"ours": timed(2.0 * size), "pytorch": timed(4.0)}, axis=axis, size=size)
        for axis in sizes
        for size in sizes[axis]
    ]
    layer = {
        rule: {way: {"gigaflops": 0.1, **timed(time, 2 * time)} for way in ("forward", "backward")}
        for rule, time in (("manual", 2.0), ("auto", 5.0))
    }
    layers = [measured(8, {}, dilation=4, rules=layer)]
    sweep = {"comparison": "a sweep", "seconds": {"ours": [2.0, 3.0], "b": [3.0, 6.0]}}
    for name, rows in (
        ("step", steps),
        ("scaling", scaled),
        ("ops", layers),
        ("commands", [sweep]),
    ):
        record.measure(f"benchmarks_{name}", rows)
    return results


def test_a_record_says_when_on_what_and_with_which_versions(records: Path) -> None:
    found = json.loads((records / "benchmarks_step.json").read_text())
    assert found.keys() == HEAD
    assert found["date"] == date.today().isoformat()
    assert found["machine"].keys() == {"processor", "cores", "gibibytes", "system"}
    assert found["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert "compiler" in found["versions"]
    assert [row["channels"] for row in found["measurements"]] == [8, 16, 32]
    assert not list(records.glob("*.part"))


def test_a_measurement_that_fails_leaves_the_record_as_it_was(records: Path) -> None:
    before = (records / "benchmarks_ops.json").read_bytes()

    def fails() -> Iterator[dict[str, Any]]:
        yield measured(8, {})
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        record.measure("benchmarks_ops", fails())
    assert (records / "benchmarks_ops.json").read_bytes() == before


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_the_table_of_steps(records: Path) -> None:
    rows = cells(report.step_table())
    assert len(rows) == 2 + 9
    assert rows[3] == [
        *("8, Keras, TensorFlow", "36.0", "36.0 (36.0 to 58.0)", "56", "3.60"),
        *("3.60 (3.30 to 3.80)", "11 %", "10"),  # 0.4 GFLOP in 36 ms of 100 GFLOP/s
    ]


def test_a_goal_counts_the_faster_framework_and_is_reached_or_not(records: Path) -> None:
    rows = cells(report.goals_table())[2:]
    assert rows == [
        ["8, Flax, JAX", "3.5", "2.00", "2.50", "no"],
        ["16, Flax, JAX", "2.4", "2.00", "2.50", "no"],
        ["32, Flax, JAX", "1.8", "2.00", "2.50", "yes"],
    ]  # Lightning is not in the record


def test_the_tables_of_layers_and_of_sizes(records: Path) -> None:
    head, _, row = cells(report.ops_table("backward"))
    assert head == ["C, dilation", "manual, ms", "of the limit", "auto / manual"]
    assert row == ["8, 4", "2.00", "50 %", "2.50"]
    rows = cells(report.scaling_table())
    assert rows[3] == ["batch, 8", "16.00", "320000", "25 %", "0.25", "10", "10"]


def test_the_conditions_of_each_record(records: Path) -> None:
    rows = cells(report.conditions_table())[2:]
    assert [row[0] for row in rows] == [
        f"benchmarks_{name}.json" for name in ("step", "ops", "scaling", "commands")
    ]
    assert rows[0][3:5] == ["10 (0 to 20)", "100"]
    assert rows[3][3:5] == ["", ""]


def test_the_table_of_commands(records: Path) -> None:
    rows = cells(report.commands_table())[2:]
    assert rows == [
        ["a sweep: ours", "2.5 (2.2 to 2.8)", "1.00 (1.00 to 1.00)"],
        ["a sweep: b", "4.5 (3.8 to 5.2)", "1.75 (1.62 to 1.88)"],
    ]


def test_a_command_that_fails_is_not_timed() -> None:
    with pytest.raises(RuntimeError, match="ended: no such thing"):
        commands.seconds(["-c", "import sys; sys.exit('no such thing')"])


@pytest.mark.slow
def test_start_up_ends_at_the_first_step(tmp_path: Path) -> None:
    code = commands.FIRST_STEP.replace("os._exit(0)", "os._exit(7)")
    assert run([sys.executable, "-c", code, f"hydra.run.dir={tmp_path / 'run'}"]).returncode == 7


@pytest.mark.parametrize("plot", [report.plot_step, report.plot_scaling])
def test_a_figure_is_at_most_900_pixels_wide(records: Path, plot: Callable[[], Any]) -> None:
    figure = plot()
    figure.draw_without_rendering()
    assert 700 <= 100 * figure.get_figwidth() <= 900


def test_the_command_measures_what_is_named_and_draws(
    records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(command, "write_tables", lambda: written.append("tables"))
    monkeypatch.setitem(command.BENCHMARKS, "ops", lambda: iter([measured(99, {})]))
    command.main(["ops"])
    assert record.read("benchmarks_ops")["measurements"][0]["channels"] == 99
    assert len(record.read("benchmarks_step")["measurements"]) == 3
    assert (records / "benchmarks_scaling.png").is_file()
    assert written == ["tables"]


def test_the_command_refuses_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["stop"])
    assert "there is no 'stop'; choose from step, ops, scaling, commands" in capsys.readouterr().err


def test_a_layer_is_checked_and_timed_by_every_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "PATIENCE", 0)
    found = ops.measure(Convolution(2, 2, 3, 2), 3, 5, 2, Limit(), 1)
    assert found["rules"].keys() == ops.RULES.keys()
    for ways in found["rules"].values():
        assert ways["backward"]["gigaflops"] == 2 * ways["forward"]["gigaflops"]
        for row in ways.values():
            assert row.keys() == {"error", "gigaflops", "milliseconds"}
            assert 0 < row["error"] < 2e-6
            assert len(row["milliseconds"]) == 2


def test_a_rule_that_is_wrong_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ops.RULES, "broken", ("broken", torch.contiguous_format))
    with pytest.raises(ArithmeticError, match=r"broken, backward, .* is wrong by"):
        ops.measure(Convolution(2, 2, 3, 2), 3, 5, 1, Limit(), 1)


def test_a_problem_on_two_axes_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    base, other = Problem((1,), channels=2), Problem((1,), channels=4)
    asked: list[Problem] = []

    def measurements(problems: list[Problem], *_: Any) -> Iterator[dict[str, Any]]:
        for problem in problems:
            asked.append(problem)
            yield {"channels": problem.channels}

    monkeypatch.setattr(scaling, "measurements", measurements)
    rows = list(scaling.standard({"channels": {2: base, 4: other}, "batch": {128: base}}))
    assert asked == [base, other]
    assert rows == [
        {"axis": "channels", "size": 2, "channels": 2},
        {"axis": "channels", "size": 4, "channels": 4},
        {"axis": "batch", "size": 128, "channels": 2},
    ]
