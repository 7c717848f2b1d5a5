"""What runs with the paper's front end start from, and how a fixed one behaves."""

from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from context_agg.cli.compose import compose_config
from context_agg.cli.errors import UserError
from context_agg.networks import vgg
from context_agg.networks.vgg import VGGFrontEnd
from context_agg.runs import start_from
from context_agg.runs.build import build, check_parts
from context_agg.runs.directory import MARK
from context_agg.runs.start_from import load_start
from context_agg.train import train
from tests.colour_scenes import with_colour_scenes

NARROW = "front_end.widths=[2,3,3,4,4,5]"
RANDOM = "front_end.weights=random"
ONE_STEP = [f"trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]


def config(*overrides: str) -> DictConfig:
    whole = ["front_end=vgg16", "model=basic", "model.channels=null", "trainer.accelerator=cpu"]
    return with_colour_scenes(compose_config(*whole, *overrides))


def test_a_run_with_the_paper_s_front_end_trains_and_is_tested(tmp_path: Path) -> None:
    cfg = config(NARROW, RANDOM, *ONE_STEP, "trainer.max_epochs=1")
    scores = train(cfg, tmp_path / "run")
    assert scores["epochs"] == 1
    assert 0 <= scores["test/iou"] <= 1


def test_a_frozen_front_end_drops_nothing() -> None:
    _, learner = build(config(NARROW, RANDOM, "frozen=[front_end]"))
    learner.train()
    learner.on_train_epoch_start()
    assert not any(module.training for module in learner.network.front_end.modules())  # type: ignore[union-attr]
    assert all(module.training for module in learner.network.context.modules())  # type: ignore[union-attr]
    _, learner = build(config(NARROW, RANDOM))
    learner.train()
    learner.on_train_epoch_start()
    assert learner.network.front_end.layers.drop6.training  # type: ignore[union-attr]


def test_a_run_starts_from_the_weights_of_imagenet_unless_it_starts_from_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vgg, "WIDTHS", (2, 3, 3, 4, 4, 5))
    monkeypatch.setattr(start_from, "imagenet_file", lambda: tmp_path / "vgg.pth")
    loaded: list[Path] = []
    monkeypatch.setattr(VGGFrontEnd, "load_imagenet", lambda self, file: loaded.append(file))
    cfg = config(NARROW)
    data, learner = build(cfg)
    load_start(cfg, learner.network, data.spec)
    assert loaded == [tmp_path / "vgg.pth"]
    cfg.front_end.weights = cfg.model.front_end.weights = "random"
    load_start(cfg, build(cfg)[1].network, data.spec)
    cfg.start_from = "nowhere"
    with pytest.raises(FileNotFoundError, match="there is no folder nowhere"):
        load_start(cfg, learner.network, data.spec)
    assert len(loaded) == 1


def test_missing_weights_are_told_before_the_runs_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(FileNotFoundError, match=r"vgg16-397923af\.pth, .*no route"):
        check_parts([config()])
    check_parts([config("front_end.weights=random")])


def test_missing_weights_are_one_message_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> Path:
        raise FileNotFoundError("there is no vgg16-397923af.pth")

    monkeypatch.setattr(vgg, "WIDTHS", (2, 3, 3, 4, 4, 5))
    monkeypatch.setattr(start_from, "imagenet_file", missing)
    with pytest.raises(UserError, match="there is no vgg16"):
        train(config(NARROW, *ONE_STEP), tmp_path / "run")
    written = {file.name for file in (tmp_path / "run").iterdir()}
    assert written <= {MARK}  # which the command removes


def test_grey_images_are_refused_in_one_message() -> None:
    cfg = compose_config("front_end=vgg16", "data=digit_scenes", "data.train_scenes=1")
    cfg.data.validation_scenes = cfg.data.test_scenes = 1
    cfg.model.channels = None
    with pytest.raises(Exception, match="front_end: VGG-16 takes colour images with 3 channels"):
        build(cfg)


# the loss


def test_classes_are_balanced_by_the_training_labels(tmp_path: Path) -> None:
    cfg = config(NARROW, RANDOM, "loss=weighted_cross_entropy", *ONE_STEP, "trainer.max_epochs=1")
    data, learner = build(cfg)
    labels = data.train.target
    counts = torch.stack([(labels == number).flatten(1).sum(1) for number in range(4)])
    frequency = counts.sum(1) / (labels != 255).sum()  # each class is in each image
    weight = learner.loss.weight
    assert isinstance(weight, torch.Tensor)
    torch.testing.assert_close(weight, frequency.sort().values[1:3].mean() / frequency)
    assert train(cfg, tmp_path / "run")["test/loss"] > 0


def test_classes_of_whole_images_are_balanced_by_how_many_there_are() -> None:
    data, learner = build(compose_config("loss=weighted_cross_entropy"))
    counts = torch.stack([(data.train.target == number).sum() for number in range(10)])
    assert len(counts.unique()) > 1
    weight = learner.loss.weight
    assert isinstance(weight, torch.Tensor)
    torch.testing.assert_close(weight, counts.sort().values[4:6].float().mean() / counts)


def test_weights_for_other_classes_are_refused_before_a_sweep() -> None:
    check_parts([config(NARROW, RANDOM, "loss=weighted_cross_entropy")])
    wrong = config(NARROW, RANDOM, "loss=weighted_cross_entropy", "loss.class_weights=[1,2]")
    with pytest.raises(ValueError, match="class_weights: there are 2 for 4 classes"):
        check_parts([wrong])


@pytest.mark.parametrize(
    ("overrides", "warns"),
    [
        (["model.init=normal", "model.init_std=1"], True),
        (["model.init=normal", "model.init_std=1", "+trainer.accumulate_grad_batches=2"], True),
        (["model.init=normal", "model.init_std=1", "loss=weighted_cross_entropy"], True),
        (["model.init=identity"], False),
    ],
)
def test_a_first_loss_far_above_that_of_guessing_is_one_line(
    overrides: list[str], warns: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["model.channels=4", "trainer.accelerator=cpu", "backprop=auto", *ONE_STEP]
    cfg = with_colour_scenes(compose_config(*plain, "trainer.max_epochs=2", *overrides))
    train(cfg, tmp_path / "run")
    lines = [line for line in capsys.readouterr().out.splitlines() if "the first loss is" in line]
    assert len(lines) == warns
    assert not warns or "guessing, ln(4) = 1.39" in lines[0]
