"""Finished runs are not repeated, interrupted ones start over, and no other file is touched."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from context_agg.cli.compose import compose_config
from context_agg.data.spec import DataSpec
from context_agg.runs.directory import begin, forget, write_scores
from context_agg.runs.finished import finished_scores
from context_agg.runs.records import check_spec, read_spec
from context_agg.runs.settings import read_settings

SETTINGS = compose_config("trainer.max_epochs=2")
SCORES = {"epochs": 2, "seconds": 1.5, "final/accuracy": 0.25}
SCORES |= {"test/loss": 1.0, "test/accuracy": 0.5}
SPEC = DataSpec("digits", 1, (28, 28), tuple("0123456789"))


def settings(**changes: object) -> DictConfig:
    changed = OmegaConf.merge(SETTINGS, changes)
    assert isinstance(changed, DictConfig)
    return changed


def written_with_mode(cfg: DictConfig, mode: str) -> DictConfig:
    """The settings as earlier versions wrote them."""
    written = cfg.copy()
    OmegaConf.set_struct(written, False)
    written.callbacks.best_checkpoint.mode = mode
    return written


def finished_run(run_dir: Path) -> None:
    begin(run_dir, settings(), SPEC)
    write_scores(run_dir, SCORES)


def names(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}


def test_a_finished_run_gives_its_scores_back(tmp_path: Path) -> None:
    assert finished_scores(tmp_path, settings()) is None
    finished_run(tmp_path)
    assert finished_scores(tmp_path, settings()) == SCORES
    assert names(tmp_path) == {".hydra/config.yaml", "data.json", "metrics.json"}


@pytest.mark.parametrize(("in_channels", "ink"), [(1, True), (3, False)])
def test_a_record_of_an_earlier_version_takes_grey_for_ink(
    in_channels: int, ink: bool, tmp_path: Path
) -> None:
    """Its run goes on with the data that it was trained on, ink or not."""
    spec = replace(SPEC, in_channels=in_channels, ink=False)
    begin(tmp_path, settings(), spec)
    file = tmp_path / "data.json"
    record = json.loads(file.read_text())
    assert record.pop("ink") is False
    file.write_text(json.dumps(record))
    assert read_spec(tmp_path) == replace(spec, ink=ink)
    check_spec(tmp_path, spec)
    with pytest.raises(ValueError, match="image_size=\\(28, 28\\), but the data here have"):
        check_spec(tmp_path, replace(spec, image_size=(32, 32)))


def test_a_finished_run_with_other_settings_is_neither_used_nor_overwritten(
    tmp_path: Path,
) -> None:
    finished_run(tmp_path)
    with pytest.raises(
        FileExistsError, match=r"settings of data.seed, seed, trainer.max_epochs; del"
    ):
        finished_scores(tmp_path, settings(seed=1, trainer={"max_epochs": 3}))
    assert json.loads((tmp_path / "metrics.json").read_text()) == SCORES
    assert finished_scores(tmp_path, settings()) is not None


def test_a_key_that_one_of_them_lacks_counts_as_a_difference(tmp_path: Path) -> None:
    finished_run(tmp_path)
    fewer = settings()
    OmegaConf.set_struct(fewer, False)
    del fewer["fresh"]
    with pytest.raises(FileExistsError, match="settings of fresh;"):
        finished_scores(tmp_path, fewer)


@pytest.mark.parametrize(
    ("monitor", "mode"), [(None, "max"), ("val/iou", "max"), ("val/loss", "min")]
)
def test_the_mode_that_an_earlier_version_wrote_is_no_difference(
    monitor: str | None, mode: str, tmp_path: Path
) -> None:
    now = settings(callbacks={"best_checkpoint": {"monitor": monitor}})
    begin(tmp_path, written_with_mode(now, mode), SPEC)
    write_scores(tmp_path, SCORES)
    assert finished_scores(tmp_path, now) == SCORES
    assert read_settings(tmp_path) == OmegaConf.create(OmegaConf.to_container(now, resolve=True))


def test_a_run_that_has_kept_its_worst_epoch_is_not_taken_for_another(tmp_path: Path) -> None:
    now = settings(callbacks={"best_checkpoint": {"monitor": "val/loss"}})
    begin(tmp_path, written_with_mode(now, "max"), SPEC)
    write_scores(tmp_path, SCORES)
    with pytest.raises(FileExistsError, match=r"settings of callbacks\.best_checkpoint\.mode;"):
        finished_scores(tmp_path, now)


def test_a_run_of_a_class_of_ones_own_is_known_again(tmp_path: Path) -> None:
    """Nothing is built from what is read here, so it needs no class of conf/."""
    mine = settings(model={"_target_": "mine.Network"})
    begin(tmp_path, mine, SPEC)
    write_scores(tmp_path, SCORES)
    assert finished_scores(tmp_path, mine) == SCORES
    with pytest.raises(ValueError, match=r"names mine.Network for model, which no file of conf/"):
        read_settings(tmp_path)


def test_begin_touches_no_file_but_those_it_writes(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("checkpoints/last.ckpt", "events.out.tfevents.1.host", "hparams.yaml", "mine.txt"):
        (tmp_path / name).write_text("x")
    before = names(tmp_path)
    begin(tmp_path, settings(), SPEC)
    assert names(tmp_path) == before | {".hydra/config.yaml", "data.json"}


def test_forget_removes_the_empty_directory_of_a_refused_run_but_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = tmp_path / "outputs" / "single" / "now"
    refused.mkdir(parents=True)
    (refused / "train.log").touch()
    forget(refused)
    assert names(tmp_path) == {"outputs/single/now/train.log"}  # it could be a user's
    forget(refused, log=True)
    assert list(tmp_path.iterdir()) == []
    refused.mkdir(parents=True)
    (refused / "mine.txt").touch()
    forget(refused)
    assert names(tmp_path) == {"outputs/single/now/mine.txt"}
    finished_run(refused)
    forget(refused)
    assert (refused / "metrics.json").is_file()


def test_a_run_of_another_format_is_one_message(tmp_path: Path) -> None:
    finished_run(tmp_path)
    data = json.loads((tmp_path / "data.json").read_text())
    assert data.pop("format") == 2
    (tmp_path / "data.json").write_text(json.dumps(data))  # as the first version wrote it
    for read in (read_settings, lambda run_dir: finished_scores(run_dir, settings())):
        with pytest.raises(ValueError, match=r"of format 1, .* reads format 2; delete it and"):
            read(tmp_path)
