"""The three stages on street scenes, and a second stage that keeps the front end's maps."""

from pathlib import Path
from typing import Any

import pytest
import torch

from context_agg.callbacks.front_end_maps import FrontEndMaps
from context_agg.cli.compose import compose_config
from context_agg.cli.errors import UserError
from context_agg.networks.front_ends import FrontEnd
from context_agg.runs.load import read_weights
from context_agg.train import train
from tests.fake_pairs import write_camvid
from tests.tiny_run import scalars

TINY = ["data.batch_size=4", "front_end.widths=[4,6]", "trainer.max_epochs=3"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_camvid(tmp_path_factory.mktemp("data")).parent


def run(experiment: str, run_dir: Path, root: Path, *overrides: str) -> dict[str, float]:
    overrides = (f"experiment={experiment}", f"data.root={root}", *TINY, *overrides)
    return train(compose_config(*overrides), run_dir)


@pytest.fixture(scope="module")
def front_end(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages") / "front_end"
    run("camvid_front_end", folder, root)
    return folder


def test_the_stages_follow_each_other(front_end: Path, root: Path, tmp_path: Path) -> None:
    scores = run("camvid_context", tmp_path / "context", root, f"start_from={front_end}")
    assert {"test/iou", "test/iou_sky", "test/iou_bicyclist"} <= scores.keys()
    run("camvid_joint", tmp_path / "joint", root, f"start_from={tmp_path / 'context'}")
    first, second, third = (
        read_weights(folder) for folder in (front_end, tmp_path / "context", tmp_path / "joint")
    )
    for name, weight in first.items():
        assert torch.equal(second[name], weight)
        assert not torch.equal(third[name], weight)


def test_kept_maps_are_computed_once_and_leave_the_losses_as_they_are(
    front_end: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6 images to train on in two orientations and 3 held out; the test comes after training."""
    seen = []
    forward = FrontEnd.forward

    def counted(self: Any, x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return forward(self, x)

    options = [f"start_from={front_end}", "trainer.max_epochs=6", "trainer.precision=64-true"]
    plain = run("camvid_context", tmp_path / "plain", root, *options, "callbacks=default")
    monkeypatch.setattr(FrontEnd, "forward", counted)
    kept = run("camvid_context", tmp_path / "kept", root, *options)
    assert sum(seen) < 6 * 2 + 3 + 3 + 10  # the rest: the network is tried when it is built
    losses, expected = (scalars(tmp_path / name) for name in ("kept", "plain"))
    for name in ("train/loss", "val/loss", "val/iou"):
        assert losses[name] == pytest.approx(expected[name], rel=1e-6)  # TensorBoard has float32
    assert kept["test/loss"] == pytest.approx(plain["test/loss"], rel=1e-12)


MISTAKES = [
    (["frozen=[]"], r"frozen=\[\]: the maps of a front end that learns cannot be kept"),
    (["data.crop=[9,9]"], "are cropped or scaled at random, .*; use callbacks=default, or set"),
    (["data.zoom=0.5"], "are cropped or scaled at random, .*; use callbacks=default, or set"),
]


@pytest.mark.parametrize(("overrides", "message"), MISTAKES)
def test_maps_that_cannot_be_kept_are_refused(
    overrides: list[str], message: str, front_end: Path, root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        run("camvid_context", tmp_path / "run", root, f"start_from={front_end}", *overrides)
    assert not (tmp_path / "run" / ".hydra").exists()


def test_more_maps_than_memory_are_refused(
    front_end: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(2 x 6 + 3) maps of 11 classes on 4 x 6 pixels, 4 bytes each."""
    needed = 15 * 11 * 4 * 6 * 4
    monkeypatch.setattr("context_agg.runs.demands.available", lambda device: needed - 1)
    monkeypatch.setattr("context_agg.runs.build.check_memory", lambda *_: None)
    with pytest.raises(UserError, match="callbacks=front_end_maps would keep"):
        run("camvid_context", tmp_path / "run", root, f"start_from={front_end}")
    monkeypatch.setattr("context_agg.runs.demands.available", lambda device: needed)
    run("camvid_context", tmp_path / "run", root, f"start_from={front_end}", "debug=step")


def test_only_a_frozen_front_end_has_maps_to_keep() -> None:
    FrontEndMaps(["front_end"])
    with pytest.raises(ValueError, match="set frozen"):
        FrontEndMaps(["context"])
