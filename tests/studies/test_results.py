"""The recorded numbers."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from studies import results


def test_rows_of_several_writers_are_all_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    runs = [f"part/seed-{seed}" for seed in range(40)]

    def record(run: str) -> None:
        results.add_rows("study", [{"run": run, "seconds": 1}], runs)

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(record, runs))
    assert [row["run"] for row in results.read("study")] == runs


def test_several_processes_make_a_measurement_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    made: list[str] = []

    def rows(name: str) -> list[list[str]]:
        made.append(name)
        return [["what"], [name]]

    names = ["a", "b", "c", "d"]
    with ThreadPoolExecutor(16) as writers:
        list(writers.map(lambda name: results.measure(name, lambda: rows(name)), names * 4))
    assert sorted(made) == names
    assert [results.read(name) for name in names] == [[{"what": name}] for name in names]
    assert sorted(row["measurement"] for row in results.read("seconds")) == names
    assert not list(tmp_path.glob("*.part"))
