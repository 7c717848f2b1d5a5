"""The file of an experiment says in short what a list of overrides composes."""

from pathlib import Path

import pytest

from context_agg.cli.compose import compose_config
from context_agg.cli.experiment import experiment


@pytest.mark.parametrize(
    "lines",
    [
        ["optimizer.lr=0.01"],
        ["model=large", "optimizer=sgd", "model.init=normal", "schedule=cosine"],
        ["experiment=best_mnist", "seed=3"],
        ["callbacks=[gradient_noise,weight_averaging]", "callbacks.gradient_noise.eta=1"],
        ["+trainer.gradient_clip_val=0.5", "model.dilations=[1,2,4]", "model.widths=[1,1,1]"],
        ["data=digit_scenes", "front_end=small", "model.channels=null", "debug=overfit"],
    ],
)
def test_it_composes_the_same(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "best.yaml").write_text(experiment("a title", lines))
    composed = compose_config("experiment=best", config_dir=str(tmp_path))
    assert composed == compose_config(*lines)


def test_it_holds_only_what_differs_from_the_defaults() -> None:
    text = experiment("a title", ["model=basic", "seed=0", "optimizer.lr=0.5", "schedule=cosine"])
    lines = ["# @package _global_", "# a title", "defaults:", "- override /schedule: cosine"]
    assert text.splitlines() == [*lines, "optimizer:", "  lr: 0.5"]
