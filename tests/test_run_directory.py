"""Finished runs are not done again, cut-off ones start anew, and nothing else is touched."""

import json
from pathlib import Path

import pytest
import yaml

from context_agg.run_directory import clear, finished_scores, write_scores

SETTINGS = {"seed": 0, "backprop": "manual", "trainer": {"max_epochs": 2}}


def finished_run(run_dir: Path) -> None:
    (run_dir / "hparams.yaml").write_text(yaml.safe_dump(SETTINGS))
    write_scores(run_dir, {"test/accuracy": 0.5})


def test_a_finished_run_gives_its_scores_back(tmp_path: Path) -> None:
    assert finished_scores(tmp_path, SETTINGS) is None
    finished_run(tmp_path)
    assert finished_scores(tmp_path, SETTINGS) == {"test/accuracy": 0.5}
    assert {file.name for file in tmp_path.iterdir()} == {"hparams.yaml", "metrics.json"}


def test_a_finished_run_with_other_settings_is_neither_used_nor_overwritten(
    tmp_path: Path,
) -> None:
    finished_run(tmp_path)
    with pytest.raises(FileExistsError, match=r"other settings of seed, trainer; delete it"):
        finished_scores(tmp_path, {**SETTINGS, "seed": 1, "trainer": {"max_epochs": 3}})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"test/accuracy": 0.5}


def test_clear_removes_what_a_cut_off_run_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/last.ckpt", "events.out.tfevents.1.host", "hparams.yaml", "mine.txt"):
        (tmp_path / name).write_text("x")
    clear(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
