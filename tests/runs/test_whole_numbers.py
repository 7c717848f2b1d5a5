"""Networks with buffers of whole numbers, as BatchNorm has one, are trained and read back."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from context_agg import export
from context_agg.cli.compose import compose_config
from context_agg.cli.errors import UserError
from context_agg.evaluate import evaluate
from context_agg.runs import load, settings
from context_agg.train import train
from tests.cut_off import EVERY, cut_off
from tests.own_parts import BatchNormNet
from tests.tiny_run import weights

TARGET = f"{BatchNormNet.__module__}.{BatchNormNet.__name__}"
SETTINGS = (
    "model=linear",
    "~model.hidden",
    f"model._target_={TARGET}",
    "data.batch_size=8",
    "trainer.accelerator=cpu",
    "trainer.limit_train_batches=10",
    "trainer.limit_val_batches=2",
    "trainer.limit_test_batches=2",
    "trainer.max_epochs=2",
    EVERY,
)
COUNT = "body.1.num_batches_tracked"


@pytest.fixture(autouse=True)
def _of_a_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if conf/model/ of the clone had a file for the network."""
    targets = settings._targets()
    own = targets | {"model": targets["model"] | {TARGET}}
    monkeypatch.setattr(settings, "_targets", lambda: own)


def run(run_dir: Path, *overrides: str) -> dict[str, float]:
    return train(compose_config(*SETTINGS, *overrides), run_dir)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_it_is_tested_evaluated_and_started_from(precision: str, tmp_path: Path) -> None:
    scores = run(tmp_path / "run", f"trainer.precision={precision}")
    again = evaluate(tmp_path / "run")
    assert again == {name: scores[name] for name in again}
    network, _ = load.load_network(tmp_path / "run")
    kept = network.state_dict()
    assert kept[COUNT].dtype is torch.int64
    assert kept["mask"].dtype is torch.bool
    assert kept["head.weight"].dtype is getattr(torch, f"float{precision[:2]}")
    run(tmp_path / "next", f"trainer.precision={precision}", f"start_from={tmp_path / 'run'}")
    assert weights(tmp_path / "next")[f"network.{COUNT}"] == kept[COUNT] + 20


def test_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    cut_off(15, tmp_path / "cut", run=run)
    run(tmp_path / "cut")
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert whole[f"network.{COUNT}"] == 20
    assert all(torch.equal(whole[name], cut[name]) for name in whole)


def test_it_is_exported_in_both_formats(tmp_path: Path) -> None:
    scores = run(tmp_path / "run")
    export.export(tmp_path / "run", tmp_path / "out")
    again = evaluate(tmp_path / "out")
    assert again == {name: scores[name] for name in again}
    export.export(tmp_path / "run", tmp_path / "program", "torch")  # compares it with the network


def test_its_weights_are_averaged_and_its_batches_counted(tmp_path: Path) -> None:
    scores = run(tmp_path / "run", "callbacks=weight_averaging")
    again = evaluate(tmp_path / "run")
    assert again == {name: scores[name] for name in again}
    best = load.read_weights(tmp_path / "run")
    assert best[COUNT] in (10, 20)  # one epoch, or two


@pytest.mark.parametrize(
    ("name", "dtype", "says"),
    [
        ("head.weight", torch.int64, "head.weight is of type torch.int64, but .* torch.float32"),
        (COUNT, torch.float32, "num_batches_tracked is of type torch.float32, but .* torch.int64"),
        ("mask", torch.int64, "mask is of type torch.int64, but .* torch.bool"),
        ("mask", torch.float16, "mask is of type torch.float16, not float32 or float64"),
    ],
)
def test_numbers_of_another_type_are_refused(
    name: str, dtype: torch.dtype, says: str, tmp_path: Path
) -> None:
    run(tmp_path / "run", "trainer.max_epochs=1", "trainer.limit_train_batches=1")
    export.export(tmp_path / "run", tmp_path / "out")
    kept = load_file(tmp_path / "out" / "model.safetensors")
    save_file(kept | {name: kept[name].to(dtype)}, tmp_path / "out" / "model.safetensors")
    with pytest.raises(ValueError, match=says):
        load.load_network(tmp_path / "out")
    with pytest.raises(UserError, match=says):
        run(tmp_path / "next", f"start_from={tmp_path / 'out'}")
