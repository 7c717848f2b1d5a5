"""What TensorBoard needs to compare runs, read back from the event files of a sweep."""

import re
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import metadata

from context_agg.cli.compose import compose_config
from context_agg.cli.sweeps import settings_of
from context_agg.train import go_on
from tests.command import call
from tests.cut_off import cut_off
from tests.tiny_run import TINY, run, scalars

SCENES = [
    "data=digit_scenes",
    "front_end=small",
    "model.channels=null",
    *(f"data.{part}_scenes=16" for part in ("train", "validation", "test")),
]


def sessions(run_dir: Path) -> list[dict[str, Any]]:
    """The settings that the HPARAMS tab shows of a run, each time that they were written."""
    found = []
    for file in sorted(run_dir.glob("events*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.tag == metadata.SESSION_START_INFO_TAG:
                    content = value.metadata.plugin_data.content
                    start = metadata.parse_session_start_info_plugin_data(content)
                    found.append(
                        {k: getattr(v, v.WhichOneof("kind")) for k, v in start.hparams.items()}
                    )
                assert value.tag != metadata.EXPERIMENT_TAG  # it would hide other sweeps' keys
    return found


def panels(run_dir: Path) -> dict[str, list[str]]:
    """The charts of the custom layout, and for each the scalars of the run that it shows."""
    events = EventAccumulator(str(run_dir))
    events.Reload()
    layouts = events.Tensors("custom_scalars__config__")
    assert len(layouts) == 1
    layout = Layout.FromString(layouts[0].tensor_proto.string_val[0])
    (category,) = layout.category
    return {
        chart.title: [
            tag
            for tag in events.Tags()["scalars"]
            if any(re.match(pattern, tag) for pattern in chart.multiline.tag)  # as TensorBoard does
        ]
        for chart in category.chart
    }


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    given = ["backprop=auto,broken", "seed=0,3", "optimizer.lr=0.01"]
    short = [*TINY, "trainer.max_epochs=2"]
    assert call("train", "-m", *short, *given, f"hydra.sweep.dir={folder}") == 0
    return folder


def test_the_hparams_tab_gets_what_was_swept_and_set(sweep: Path) -> None:
    for backprop in ("auto", "broken"):
        for seed in (0, 3):
            (shown,) = sessions(sweep / f"backprop-{backprop}" / f"seed-{seed}")
            assert shown == {
                "model": "basic",
                "backprop": backprop,
                "seed": seed,
                "optimizer.lr": 0.01,
                "model.channels": 2,
                "data.batch_size": 8,
                "trainer.accelerator": "cpu",
                "trainer.max_epochs": 2,
                **{f"trainer.limit_{part}_batches": n for part, n in LIMITS.items()},
            }


LIMITS = {"train": 10, "val": 2, "test": 2}


def test_a_folder_of_data_is_no_setting() -> None:
    given = ["data=mnist", "data.root=/some/place", "+trainer.benchmark=true"]
    cfg = compose_config(*given)
    assert settings_of(cfg, {"model": "basic", "data": "mnist"}, given) == {
        "model": "basic",
        "backprop": "manual",
        "seed": 0,
        "data": "mnist",
        "trainer.benchmark": True,
    }


def test_the_final_scores_are_the_last_values_of_curves(sweep: Path) -> None:
    curves = scalars(sweep / "backprop-auto" / "seed-0")
    assert {"test/accuracy", "test/loss", "val/accuracy"} <= curves.keys()
    assert len(curves["test/accuracy"]) == 1


def test_the_layout_overlays_cost_and_accuracy_of_training_and_held_out(sweep: Path) -> None:
    for run_dir in sweep.glob("*/seed-*"):
        assert panels(run_dir) == {
            "cost, training": ["train/loss"],
            "cost, held-out": ["val/loss"],
            "accuracy, training": ["train/accuracy"],
            "accuracy, held-out": ["val/accuracy"],
        }


def test_no_curve_counts_the_epochs(sweep: Path) -> None:
    tags = scalars(sweep / "backprop-auto" / "seed-0").keys()
    assert {tag.partition("/")[0] for tag in tags} == {"train", "val", "test"}


def test_a_dense_run_has_a_panel_for_its_iou_and_images(tmp_path: Path) -> None:
    run(tmp_path, *SCENES, "trainer.max_epochs=1")
    assert panels(tmp_path)["mean IoU, held-out"] == ["val/iou"]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert events.Tags()["images"] == ["val/labels"]


def test_a_run_that_goes_on_is_described_once(tmp_path: Path) -> None:
    cut_off(15, tmp_path / "cut")
    before = panels(tmp_path / "cut")
    go_on(tmp_path / "cut", [])
    assert panels(tmp_path / "cut") == before
