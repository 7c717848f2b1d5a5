"""A run ends at the step at which something is no longer finite, before the weights take it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from context_agg.cli.errors import UserError
from context_agg.networks.context import DilatedConv2d
from context_agg.training.learner import Learner
from tests.tiny_run import run, weights

LAYER = "context.layers.2"


def layer(learner: Learner) -> DilatedConv2d:
    found = learner.network.get_submodule(LAYER)
    assert isinstance(found, DilatedConv2d)
    return found


def poison_at(
    monkeypatch: pytest.MonkeyPatch, step: int, poison: Callable[[Learner, Tensor], Tensor]
) -> None:
    original = Learner.training_step

    def training_step(self: Learner, batch: tuple[Tensor, Tensor]) -> Tensor:
        if self.global_step == step:
            return poison(self, original(self, batch))
        return original(self, batch)

    monkeypatch.setattr(Learner, "training_step", training_step)


def diagnosis(run_dir: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((run_dir / "diagnosis.json").read_text())
    return data


def test_a_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is finite, and the gradient of one layer alone is not."""

    def poison(learner: Learner, loss: Tensor) -> Tensor:
        layer(learner).weight.register_hook(lambda gradient: gradient * torch.nan)
        return loss

    poison_at(monkeypatch, 13, poison)
    match = f"step 13: a gradient is not finite, first in the gradient of {LAYER}, so the run ends"
    with pytest.raises(UserError, match=match):
        run(tmp_path, "checkpoint.every_steps=5")
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
    found = diagnosis(tmp_path)
    assert found["step"] == 13
    assert found["batch"] == {"epoch": 1, "batches": 4}  # ten batches an epoch
    bad = [name for name, value in found["largest_gradient"].items() if isinstance(value, str)]
    assert bad == [f"{LAYER}.weight"]
    assert not (tmp_path / "metrics.json").exists()


def test_the_loss_by_way_of_a_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def poison(learner: Learner, loss: Tensor) -> Tensor:
        layer(learner).weight.data[0, 0, 0, 0] = torch.inf
        return loss * torch.inf

    poison_at(monkeypatch, 4, poison)
    with pytest.raises(UserError, match=f"step 4: the loss is inf, first in the output of {LAYER}"):
        run(tmp_path)
    outputs = diagnosis(tmp_path)["largest_output"]
    assert next(iter(outputs)).startswith("front_end")
    assert isinstance(outputs[LAYER], str)


@pytest.mark.parametrize("every_step", [True, False])
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_accumulated_batches_count_each(
    bad: int, every_step: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the three batches of a step the first bad one is named, whatever the later ones are."""
    number = 0

    def poison(learner: Learner, loss: Tensor) -> Tensor:
        nonlocal number
        number += 1
        factor = {bad + 1: torch.inf, bad + 2: torch.nan}.get(number, 1)
        return loss * factor

    if not every_step:  # as on CUDA
        monkeypatch.setattr("context_agg.callbacks.finite.EVERY_STEP", ())
    poison_at(monkeypatch, 1, poison)
    with pytest.raises(UserError, match="step 1: the loss is inf"):
        run(tmp_path, "+trainer.accumulate_grad_batches=3")
    assert diagnosis(tmp_path)["batch"] == {"epoch": 0, "batches": 4 + bad}


def test_the_outputs_are_those_of_the_batch_with_the_bad_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of three batches has the brightest pixels, so it alone has the largest output."""
    seen: list[float] = []

    def training_step(self: Learner, batch: tuple[Tensor, Tensor]) -> Tensor:
        images = batch[0]
        images.mul_(100 if not seen else 1)
        front_end = self.network.get_submodule("front_end")
        seen.append(float(front_end(images).detach().abs().max()))
        return original(self, batch) * (torch.nan if len(seen) == 1 else 1)

    original = Learner.training_step
    monkeypatch.setattr(Learner, "training_step", training_step)
    with pytest.raises(UserError, match="step 0: the loss is nan"):
        run(tmp_path, "+trainer.accumulate_grad_batches=3", "backprop=auto")
    outputs = diagnosis(tmp_path)["largest_output"]
    (largest,) = [value for name, value in outputs.items() if name.startswith("front_end")]
    assert largest == pytest.approx(seen[0])
    assert largest > 10 * max(seen[1:])


def test_the_outputs_are_in_the_precision_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a layer computes in bfloat16 has eight bits."""
    poison_at(monkeypatch, 4, lambda learner, loss: loss * torch.nan)
    with pytest.raises(UserError, match="step 4: the loss is nan"):
        run(tmp_path, "trainer.precision=bf16-mixed", "backprop=auto")
    largest = diagnosis(tmp_path)["largest_output"][LAYER]
    assert largest > 0
    assert float(torch.tensor(largest).bfloat16()) == largest


def test_what_waits_on_a_device_is_noticed_before_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on CUDA: no look after each step, so the step named is earlier than the last one."""
    monkeypatch.setattr("context_agg.callbacks.finite.EVERY_STEP", ())
    poison_at(monkeypatch, 6, lambda learner, loss: loss * torch.nan)
    with pytest.raises(UserError, match="step 6: the loss is nan"):
        run(tmp_path, "checkpoint.every_steps=5")
    assert diagnosis(tmp_path)["batch"] == {"epoch": 0, "batches": 7}
    assert all(value.isfinite().all() for value in weights(tmp_path).values())
