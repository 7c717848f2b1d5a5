"""Trained runs are read back: evaluate, export, predict."""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from context_agg import evaluate, export, predict
from context_agg.cli.compose import compose_config
from context_agg.cli.errors import UserError
from context_agg.cli.values import check_values
from context_agg.data.digits import load_digits
from context_agg.data.image_files import read_image
from context_agg.data.spec import DataSpec
from context_agg.runs.classify import classify
from context_agg.runs.load import load_network
from context_agg.runs.settings import read_settings
from context_agg.train import train
from tests.tiny_run import run

ROOT = Path(__file__).parents[2]
DATA = {"batch_size": 8, "shift": 0, "held_out": "validation", "seed": 0}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose best checkpoint is not its last."""
    run_dir = tmp_path_factory.mktemp("trained") / "run"
    run(run_dir, "trainer.max_epochs=3", "trainer.limit_train_batches=1.0", "optimizer.lr=0.002")
    return run_dir


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    out = trained.parent / "exported"
    export.main([str(trained), str(out)])
    return out


def test_evaluate_gives_the_recorded_numbers_exactly(
    trained: Path, exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = json.loads((trained / "metrics.json").read_text())
    before = {file for file in trained.rglob("*") if file.is_file()}
    for run_dir in (trained, exported):
        scores = evaluate.evaluate(run_dir)
        assert scores == {name: recorded[name] for name in ("test/loss", "test/accuracy")}
        evaluate.main([str(run_dir)])
        assert capsys.readouterr().out.count("difference 0)") == 2
    assert {file for file in trained.rglob("*") if file.is_file()} == before


def test_an_exported_run_holds_the_best_weights_without_pickle(
    trained: Path, exported: Path
) -> None:
    files = {str(file.relative_to(exported)) for file in exported.rglob("*") if file.is_file()}
    records = {".hydra/config.yaml", "data.json", "metrics.json"}
    assert files == records | {"model.safetensors", "README.md"}
    best = torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    network, spec = load_network(exported)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, best[f"network.{name}"])
    assert (spec.name, spec.image_size, spec.classes) == ("digits", (28, 28), tuple("0123456789"))
    assert not network.training


def test_predict_says_of_image_files_what_the_network_says_of_the_tensors(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_digits(**DATA)
    network, spec = load_network(trained)
    images = data.test.images[:5]
    expected = network(images.float() / 255).softmax(1)
    files = [tmp_path / f"{number}.png" for number in range(5)]
    for image, file in zip(images, files, strict=True):
        Image.fromarray(image[0].numpy()).save(file)
    for file, row in zip(files, expected, strict=True):
        description, probabilities = classify(network, spec, file)
        assert description == "28x28 grey, light on dark, taken as it is"
        assert list(probabilities) == list("0123456789")
        np.testing.assert_allclose(list(probabilities.values()), row.tolist(), atol=1e-6)
    predict.main([str(trained), *map(str, files)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 * 4
    best = expected[0].argmax().item()
    assert lines[1].split() == [str(best), f"{expected[0, best]:.4f}"]


def png() -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "PNG")
    return stream.getvalue()


PNG = png()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nowhere.png", None, "there is no file"),
        ("text.png", b"no image", "is not an image"),
        ("blank.png", np.full((9, 9), 200, np.uint8), "is blank"),
        ("broken-off.png", PNG[:-30], "cannot read"),
        ("empty.png", b"", "is empty"),
        ("folder", None, "is a folder"),
    ],
)
def test_a_bad_image_costs_its_own_answer_only(
    name: str,
    content: bytes | np.ndarray | None,
    message: str,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, bad, last = tmp_path / "good.png", tmp_path / name, tmp_path / "last.png"
    for file in (good, last):
        Image.fromarray(np.eye(9, dtype=np.uint8) * 255).save(file)
    if isinstance(content, bytes):
        bad.write_bytes(content)
    elif content is not None:
        Image.fromarray(content).save(bad)
    elif name == "folder":
        bad.mkdir()
    with pytest.raises(SystemExit, match="1 of 3 files have no result"):
        predict.main([str(trained), str(good), str(bad), str(last)])
    printed = capsys.readouterr()
    named = [line for line in printed.out.splitlines() if not line.startswith("  ")]
    assert [line.partition(": ")[0] for line in named] == [str(good), str(last)]
    (line,) = printed.err.splitlines()
    assert message in line
    assert str(bad) in line


def test_an_answer_is_printed_before_the_next_image_is_read(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for file in files:
        Image.fromarray(np.eye(9, dtype=np.uint8) * 255).save(file)
    printed: list[str] = []

    def noted(file: Path, spec: DataSpec) -> tuple[torch.Tensor, str]:
        printed.append(capsys.readouterr().out)
        return read_image(file, spec)

    monkeypatch.setattr("context_agg.runs.classify.read_image", noted)
    predict.main([str(trained), *map(str, files)])
    assert [text.partition(":")[0] for text in printed] == ["", *map(str, files[:2])]


def test_a_mistake_in_the_call_is_not_a_mistake_of_every_file(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"--out=x: .* does not label pixels"):
        predict.main([str(trained), "a.png", "b.png", "--out", "x"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("model.safetensors", b"\x08", "model.safetensors is damaged"),
        ("data.json", b"{", "data.json is damaged"),
        ("data.json", None, "no data.json in it"),
        (".hydra/config.yaml", b"model: [", "cannot read"),
        (".hydra/config.yaml", b"- 1", "is not a configuration"),
        (".hydra/config.yaml", "channels: 2 -> channels: 3", "the weights do not fit"),
    ],
)
def test_a_damaged_run_is_one_message(
    file: str, content: bytes | str | None, says: str, exported: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(exported, run_dir)
    if content is None:
        (run_dir / file).unlink()
    elif isinstance(content, bytes):
        (run_dir / file).write_bytes(content)
    else:
        old, _, new = content.partition(" -> ")
        text = (run_dir / file).read_text()
        assert old in text
        (run_dir / file).write_text(text.replace(old, new))
    image = tmp_path / "image.png"
    Image.fromarray(np.eye(9, dtype=np.uint8) * 255).save(image)
    with pytest.raises(SystemExit, match=says):
        predict.main([str(run_dir), str(image)])


def test_a_damaged_checkpoint_or_record_is_one_message(trained: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    (run_dir / "metrics.json").write_text("{")
    with pytest.raises(SystemExit, match=r"metrics\.json is damaged"):
        evaluate.main([str(run_dir)])
    best = run_dir / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"best\.ckpt is damaged"):
        evaluate.evaluate(run_dir)


def test_a_run_of_another_machine_is_evaluated_on_the_device_here(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was trained on CUDA, and training it would not fit into the memory here."""
    run_dir = tmp_path / "run"
    shutil.copytree(trained, run_dir)
    settings = run_dir / ".hydra" / "config.yaml"
    text = settings.read_text()
    assert "accelerator: cpu" in text
    settings.write_text(text.replace("accelerator: cpu", "accelerator: cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("context_agg.runs.memory.available", lambda device: 1)
    recorded = json.loads((run_dir / "metrics.json").read_text())
    scores = evaluate.evaluate(run_dir)
    assert scores == {name: recorded[name] for name in scores}


def test_a_directory_that_is_no_run_is_one_message(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for main, more in ((evaluate.main, []), (predict.main, ["x.png"]), (export.main, ["out"])):
        with pytest.raises(SystemExit, match="is not the directory of a run"):
            main([str(tmp_path), *more])
    (tmp_path / ".hydra").mkdir()
    for name in (".hydra/config.yaml", "data.json"):
        (tmp_path / name).write_text((trained / name).read_text())
    with pytest.raises(SystemExit, match="no trained weights"):
        predict.main([str(tmp_path), "x.png"])
    with pytest.raises(SystemExit, match="has not finished"):
        export.main([str(tmp_path), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="already exists"):
        export.main([str(trained), str(trained)])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["os.system", "context_agg.runs.directory.os.system"])
def test_a_run_directory_from_elsewhere_runs_no_code(
    target: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    monkeypatch.setattr(os, "system", called.append)
    (tmp_path / ".hydra").mkdir()
    cfg = OmegaConf.load(exported / ".hydra" / "config.yaml")
    cfg.trainer.profiler = {"_target_": target, "command": "true"}
    OmegaConf.save(cfg, tmp_path / ".hydra" / "config.yaml")
    for main, more in ((evaluate.main, []), (predict.main, ["x.png"])):
        with pytest.raises(SystemExit, match=f"names {target}"):
            main([str(tmp_path), *more])
    assert called == []


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("${oc.create:{_target_: os.makedirs, name: made}}", "names os.makedirs"),
        ("${no_such_resolver:1}", "cannot read"),
    ],
)
def test_interpolations_of_a_run_directory_run_no_code(
    written: str,
    says: str,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".hydra").mkdir()
    cfg = OmegaConf.load(exported / ".hydra" / "config.yaml")
    cfg.model.shortcut = written
    OmegaConf.save(cfg, tmp_path / ".hydra" / "config.yaml")
    with pytest.raises(SystemExit, match=says):
        predict.main([str(tmp_path), "x.png"])
    assert not (tmp_path / "made").exists()


def test_averaged_weights_are_tested_kept_and_evaluated(tmp_path: Path) -> None:
    """The checkpoint, the recorded scores and `evaluate` all refer to the average."""
    scores = train(
        compose_config(
            "callbacks=weight_averaging",
            "callbacks.weight_averaging.avg_fn.decay=0.9",
            "schedule=cosine",
            "backprop=auto",
            "model.channels=2",
            "trainer.max_epochs=2",
            "data.rotate=10",
            "data.zoom=0.1",
        ),
        tmp_path,
    )
    checkpoint = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    averaged, last = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert not torch.equal(averaged["network.front_end.weight"], last["network.front_end.weight"])
    evaluated = evaluate.evaluate(tmp_path)
    assert evaluated == {name: scores[name] for name in evaluated}


def test_the_cosine_schedule_ends_at_zero(tmp_path: Path) -> None:
    train(
        compose_config(
            "schedule=cosine",
            "model.channels=2",
            "trainer.max_epochs=2",
            "trainer.limit_train_batches=10",
            "trainer.limit_val_batches=1",
            "trainer.limit_test_batches=1",
        ),
        tmp_path,
    )
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    (scheduler,) = checkpoint["lr_schedulers"]
    assert (scheduler["T_max"], scheduler["last_epoch"], scheduler["base_lrs"]) == (20, 20, [1e-3])
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "models").iterdir()))
def test_the_models_of_the_repository_have_settings_that_are_right(name: str) -> None:
    """Older configurations lack keys that were added later."""
    check_values(read_settings(ROOT / "models" / name))
