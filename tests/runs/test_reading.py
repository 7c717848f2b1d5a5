"""What is in the directory of a run is checked: one message names the file and the way out."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from context_agg import evaluate, export, predict
from context_agg.runs import atomic, reading
from context_agg.runs.finished import finished_scores
from context_agg.runs.load import load_network
from context_agg.runs.settings import read_settings
from context_agg.train import go_on
from tests.cut_off import cut_off
from tests.tiny_run import run

MODELS = Path(__file__).parents[2] / "models"
CONFIG, BEST = ".hydra/config.yaml", "checkpoints/best.ckpt"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """An exported run, to be damaged."""
    return Path(shutil.copytree(MODELS / "basic_mnist", tmp_path / "run"))


@pytest.fixture
def trained(exported: Path) -> Path:
    """A run with a checkpoint, to be damaged."""
    weights = load_file(exported / "model.safetensors")
    (exported / "model.safetensors").unlink()
    (exported / "checkpoints").mkdir()
    torch.save({"state_dict": {f"network.{k}": v for k, v in weights.items()}}, exported / BEST)
    return exported


def message(main: Callable[[list[str]], None], *arguments: Path) -> str:
    """What a command exits with."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    assert isinstance(exit_.value.code, str)
    return exit_.value.code


def picture(folder: Path) -> Path:
    file = folder / "image.png"
    Image.fromarray(np.eye(28, dtype=np.uint8) * 255).save(file)
    return file


def changed(file: Path, **changes: Any) -> bytes:
    return json.dumps(json.loads(file.read_text()) | changes).encode()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"more": 1}, "has a key 'more', which no run writes"),
        ({"image_size": [28, -28]}, "image_size=[28, -28] must be two whole numbers"),
        ({"image_size": 28}, "image_size=28 must be two whole numbers"),
        ({"in_channels": True}, "in_channels=True must be a whole number, 1 or more"),
        ({"in_channels": 1.5}, "in_channels=1.5 must be a whole number, 1 or more"),
        ({"classes": ["0", "0"]}, "classes=['0', '0'] must be a list of different names"),
        ({"classes": ["\x1b[2J"]}, "must be a list of different names"),
        ({"margin": 14}, "a margin of 14 leaves nothing of the image"),
        ({"dense": None}, "dense=None must be true or false"),
        ({"ink": 1}, "ink=1 must be true or false"),
        ({"in_channels": 3, "ink": True}, "ink=True needs in_channels=1, not 3"),
        ({"format": 1}, "a run of format 1, but this version"),
    ],
)
def test_a_wrong_description_of_the_data(
    changes: dict[str, Any], says: str, exported: Path, tmp_path: Path
) -> None:
    file = exported / "data.json"
    file.write_bytes(changed(file, **changes))
    for said in (
        message(predict.main, exported, picture(tmp_path)),
        message(export.main, exported, tmp_path / "out"),
    ):
        assert says in said
        assert str(exported) in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[1]", "must hold an object, not [1]"),
        ('"scores"', "must hold an object"),
        ("null", "must hold an object, not None"),
        ("", "is empty"),
        ("[" * 50_000, "is damaged: "),
        ("{}", "has no epochs"),
        ({"test/loss": float("nan")}, "test/loss=nan must be a finite number"),
        ({"test/accuracy": "high"}, "test/accuracy='high' must be a finite number"),
        ({"test/loss": 10**400}, "0000 must be a finite number"),
        ({"test/iou": 10**400}, "0000 must be a number"),
        ({"test/iou": []}, "test/iou=[] must be a number"),
    ],
)
def test_only_valid_scores_make_a_finished_run(
    content: str | dict[str, Any], says: str, exported: Path, tmp_path: Path
) -> None:
    file = exported / "metrics.json"
    file.write_bytes(content.encode() if isinstance(content, str) else changed(file, **content))
    before = file.read_bytes()
    for said in (
        message(evaluate.main, exported),
        message(export.main, exported, tmp_path / "out"),
    ):
        assert says in said
        assert str(file) in said
        assert "take it from a copy" in said
    with pytest.raises(ValueError, match="take it from a copy"):
        finished_scores(exported, read_settings(exported))
    assert file.read_bytes() == before


def test_the_iou_of_a_class_that_does_not_occur_may_be_nan(exported: Path, tmp_path: Path) -> None:
    file = exported / "metrics.json"
    file.write_bytes(changed(file, **{"test/iou_car": float("nan")}))
    export.export(exported, tmp_path / "out")
    assert (tmp_path / "out" / "metrics.json").read_bytes() == file.read_bytes()


def other_settings(**changes: Any) -> bytes:
    settings = yaml.safe_load((MODELS / "basic_mnist" / CONFIG).read_text())
    for key, value in changes.items():
        *groups, name = key.split("__")
        place = settings
        for group in groups:
            place = place[group]
        place[name] = value
    return yaml.safe_dump(settings).encode()


ALIASES = "a0: &a0 [1]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 20)
)
DOUBLED = "a0: x\n" + "".join(f"a{i}: ${{a{i - 1}}}${{a{i - 1}}}\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"{}", "it has no seed"),
        (b"seed: \xff", "it is not UTF-8"),
        (b"x" * 100_000, "a file of its kind has 64,000 at most"),
        (b"[" * 10_000, "nested more than 20 deep"),
        (ALIASES.encode(), "it repeats a part of itself (*a0)"),
        (DOUBLED.encode(), "it has more than 20 interpolations"),
        ((MODELS / "scenes_identity" / CONFIG).read_bytes(), "a front end predicts a class for"),
        (other_settings(model=3), "model=3 must be a group of settings"),
        (other_settings(model__channels=-1), "channels=-1 must be a whole number"),
        (other_settings(model__channels=10**6), "the weights do not fit"),
        (other_settings(model__channels=10**12), "config.yaml: model"),
        (other_settings(model__other=1), "unexpected keyword argument 'other'"),
        (other_settings(model___partial_=True), "model._partial_ is not a setting of"),
        (other_settings(model___args_=[1]), "model._args_ is not a setting of"),
        (other_settings(trainer__max_epochs="3"), "trainer.max_epochs='3' must be a whole number"),
        (other_settings(optimizer__lr=-1), "optimizer.lr=-1 must be a number above 0"),
        (other_settings(model___target_="torch.optim.Adam"), "names torch.optim.Adam for model"),
        (
            other_settings(callbacks__epoch_report__more={"_target_": "lightning.Trainer"}),
            "names lightning.Trainer for callbacks.epoch_report.more",
        ),
        (other_settings(seed="${nowhere}"), "cannot read"),
        (other_settings(seed="???"), "cannot read"),
    ],
)
def test_wrong_settings(content: bytes, says: str, exported: Path, tmp_path: Path) -> None:
    (exported / CONFIG).write_bytes(content)
    start = time.perf_counter()
    said = message(predict.main, exported, picture(tmp_path))
    assert says in said
    assert str(exported) in said
    assert len(said) < 1500
    assert time.perf_counter() - start < 10


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("harm",)


WEIGHT = "network.front_end.weight"


def state(**weights: Any) -> dict[str, Any]:
    return {"state_dict": {f"network.{name}": value for name, value in weights.items()}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is damaged: it is empty"),
        (b"some text\n", "is not a checkpoint: it is not an archive as PyTorch writes them"),
        ([1, 2], "is not a checkpoint: it has no state_dict"),
        ({"state_dict": {}}, "holds no weights"),
        ({"state_dict": {1: torch.zeros(1)}}, "holds no weights"),
        (state(weight="strings"), "weight is not a plain tensor (str)"),
        (state(weight=torch.eye(2).to_sparse()), "best.ckpt"),  # torch may refuse it first
        (state(weight=torch.zeros(1).expand(10**12)), "more than its file holds"),
        (state(weight=torch.ones(3).half()), "weight is of type torch.float16"),
        (state(weight=torch.tensor([1, torch.nan])), "weight is not finite (NaN or infinite)"),
        (state(weight=torch.ones(2)), "the weights do not fit .hydra/config.yaml"),
        (Harmful(), "holds more than tensors and plain values (posix.mkdir), which could run any"),
    ],
)
def test_what_is_not_the_checkpoint_of_a_run(
    content: Any, says: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        (trained / BEST).write_bytes(content)
    else:
        torch.save(content, trained / BEST)
    for said in (
        message(predict.main, trained, picture(tmp_path)),
        message(export.main, trained, tmp_path / "out"),
        message(evaluate.main, trained),
    ):
        assert says in said
        assert str(trained) in said
        assert "weights_only" not in said
    assert {path.name for path in tmp_path.iterdir()} == {"run", "image.png"}


def test_weights_that_are_not_finite_are_named(exported: Path, tmp_path: Path) -> None:
    weights = load_file(exported / "model.safetensors")
    weights["head.1.weight"][3, 5] = torch.inf
    save_file(weights, exported / "model.safetensors")
    says = f"{exported}/model.safetensors: head.1.weight is not finite"
    assert says in message(predict.main, exported, picture(tmp_path))
    assert says in message(export.main, exported, tmp_path / "out")
    with pytest.raises(Exception, match=r"head.1.weight is not finite"):
        run(tmp_path / "next", f"start_from={exported}")
    assert not any((tmp_path / "next").iterdir())


@pytest.mark.parametrize("name", ["data.json", "metrics.json", CONFIG, "model.safetensors"])
@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link to itself", "huge"])
def test_what_is_not_a_file_of_a_run(kind: str, name: str, exported: Path, tmp_path: Path) -> None:
    file = exported / name
    file.unlink()
    if kind == "a folder":
        file.mkdir()
    elif kind == "a pipe":
        os.mkfifo(file)
    elif kind == "a link to itself":
        file.symlink_to(file)
    else:
        file.touch()
        os.truncate(file, 10**13)
    said = message(export.main, exported, tmp_path / "out")
    assert str(file) in said
    assert ("a file of its kind has" if kind == "huge" else "is not a file") in said


def test_a_file_that_may_not_be_read(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(OSError, match=r"^cannot read .*data.json: Permission denied$"):
        reading.read_json(exported / "data.json")


# Export


@pytest.mark.parametrize("kind", ["a folder", "a file", "a link to nowhere"])
def test_export_leaves_what_is_there_alone(kind: str, exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "a folder":
        out.mkdir()
    elif kind == "a file":
        out.write_text("mine")
    else:
        out.symlink_to("nowhere")
    before = out.lstat()
    assert "already exists" in message(export.main, exported, out)
    assert out.lstat() == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("calls", range(1, 9))
def test_an_export_is_whole_or_leaves_nothing(
    calls: int, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at every point in turn."""
    left = calls
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "new" / "parents" / "out"
    said = message(export.main, exported, out)
    assert said == f"cannot write {out}: No space left on device; name another directory"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_place_that_cannot_be_written_is_a_sentence(exported: Path) -> None:
    said = message(export.main, exported, Path("/proc/x"))
    assert said.startswith("cannot write /proc/x: ")
    assert "Errno" not in said


def test_parents_that_are_missing_are_made(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    export.export(exported, out)
    load_network(out)
    assert {path.name for path in out.parent.iterdir()} == {"out"}
    assert out.stat().st_mode == exported.stat().st_mode


def test_a_folder_that_takes_its_name_too_late_leaves_no_parents(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"

    def fill() -> None:
        with atomic.new_folder(out):
            out.mkdir(parents=True)  # somebody else's, meanwhile
            (out / "theirs").touch()

    with pytest.raises(OSError, match="exists"):
        fill()
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "out", "theirs"]


# Going on


def test_a_best_checkpoint_that_is_damaged_is_noticed_before_training(tmp_path: Path) -> None:
    cut_off(15, tmp_path / "cut")
    best = tmp_path / "cut" / BEST
    good = best.read_bytes()
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if "tfe" in file.name}
    for content in (None, b"", good[:-9]):
        best.unlink() if content is None else best.write_bytes(content)
        with pytest.raises(SystemExit, match="no trained weights" if content is None else "damag"):
            go_on(tmp_path / "cut", [])
    assert before == {
        file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if "tfe" in file.name
    }
    best.write_bytes(good)
    go_on(tmp_path / "cut", [])


def test_a_run_with_the_mode_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """If it keeps the best epoch; a run that keeps the worst one can be read, but not go on."""
    cut_off(15, tmp_path / "cut", "callbacks.best_checkpoint.monitor=val/loss")
    file = tmp_path / "cut" / CONFIG
    settings = file.read_text()
    written = settings.replace("monitor: val/loss", "monitor: val/loss\n    mode: MODE")
    file.write_text(written.replace("MODE", "max"))
    says = "keeps its worst epoch, with callbacks.best_checkpoint.mode=max for monitor=val/loss"
    with pytest.raises(SystemExit, match=says):
        go_on(tmp_path / "cut", [])
    evaluate.evaluate(tmp_path / "cut")
    file.write_text(written.replace("MODE", "min"))
    go_on(tmp_path / "cut", [])
    assert file.read_text() == settings
    assert (tmp_path / "cut" / "metrics.json").is_file()


def test_lost_event_files_cost_the_picture_and_not_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut_off(15, tmp_path / "cut")
    for file in (tmp_path / "cut").glob("events*"):
        file.unlink()
        file.mkdir()
    go_on(tmp_path / "cut", [])
    assert (tmp_path / "cut" / "metrics.json").is_file()
    if not (tmp_path / "cut" / "curves.png").is_file():
        assert "no curves.png: " in capsys.readouterr().out


def test_settings_that_are_gone_do_not_cost_the_checkpoints(tmp_path: Path) -> None:
    cut_off(15, tmp_path / "cut")
    (tmp_path / "cut" / CONFIG).unlink()
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.ckpt")}
    with pytest.raises(Exception, match=r"holds checkpoints, but no .hydra/config.yaml"):
        run(tmp_path / "cut", "checkpoint.every_steps=3")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.ckpt")} == before


def test_data_that_are_not_those_of_the_run_are_refused(tmp_path: Path) -> None:
    cut_off(15, tmp_path / "cut")
    file = tmp_path / "cut" / "data.json"
    file.write_bytes(changed(file, classes=list("abcdefghij")))
    before = file.read_bytes()
    says = r"classes=\('a', .*but the data here have classes=\('0', "
    with pytest.raises(SystemExit, match=says):
        go_on(tmp_path / "cut", [])
    with pytest.raises(Exception, match=says):
        evaluate.evaluate(tmp_path / "cut")
    assert file.read_bytes() == before
