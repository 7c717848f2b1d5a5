"""Agreement with the true gradients: the measures, and the callback that logs them."""

import csv
import math
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from context_agg.callbacks.overfit import NotOverfit
from context_agg.cli.compose import compose_config
from context_agg.gradients.agreement import align, by_layer, network_alignment
from context_agg.gradients.alignment_history import plot_alignment, read_alignment
from context_agg.gradients.finite_differences import (
    difference_errors,
    gradcheck_failures,
    gradcheck_operands,
)
from context_agg.gradients.layers import layer_cases, layer_tensors, true_conv
from context_agg.networks.context import DilatedConv2d
from context_agg.networks.shortcuts import GradientShortcuts
from context_agg.ops import CONV_OPS
from context_agg.ops.mistakes import MISTAKES
from context_agg.runs.build import build
from context_agg.train import train
from tests.operands import CORRECT, operands
from tests.tiny_run import scalars

Array = NDArray[np.float64]
CPU = torch.device("cpu")


def test_alignment_by_hand() -> None:
    """(3, 4) and (4, 3) have cosine 24/25; signs do not count where the true gradient is 0."""
    a, b = torch.tensor([3.0, 4.0, 1.0]), torch.tensor([4.0, -3.0, 0.0])
    assert align(torch.tensor([3.0, 4.0]), torch.tensor([4.0, 3.0])) == pytest.approx(
        (24 / 25, 1, 1)
    )
    cosine, ratio, signs = align(a, b)
    assert cosine == pytest.approx(0)
    assert signs == 0.5
    assert ratio == pytest.approx(math.sqrt(26) / 5)


def test_alignment_with_nothing() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    assert align(zero, one) == (0, 0, 0)
    assert all(math.isnan(value) for value in align(one, zero))


def test_tiny_gradients_are_compared_too() -> None:
    tiny = torch.full((3,), 1e-38)
    assert align(tiny, 2 * tiny) == pytest.approx((1, 0.5, 1))


class Tower(nn.Module):
    """Two layers and a sum, small enough to differentiate by hand in numpy."""

    def __init__(self, backprop: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = DilatedConv2d(1, 1, 3, 2, relu=False, backprop=backprop)
        self.second = DilatedConv2d(1, 1, 3, 3, relu=False, backprop=backprop)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x)).flatten(1)
        return y


def shifted(image: Array, dy: int, dx: int) -> Array:
    """image[p + (dy, dx)], 0 outside: by index, as in the definition."""
    height, width = image.shape
    result = np.zeros_like(image)
    for i in range(height):
        for j in range(width):
            if 0 <= i + dy < height and 0 <= j + dx < width:
                result[i, j] = image[i + dy, j + dx]
    return result


TAPS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]


def conv(image: Array, weight: Array, dilation: int) -> Array:
    result = np.zeros_like(image)
    for w, (i, j) in zip(weight.flat, TAPS, strict=True):
        result += w * shifted(image, dilation * i, dilation * j)
    return result


def numpy_grads(
    x: Array, first: Array, g: Array, second: Array, wrong: bool
) -> tuple[Array, Array]:
    """The layers' weight gradients of sum(g y); `wrong` uses dilation 1 in the backward pass."""
    h = 0.5 + conv(x, first, 2)  # the bias is 0.5
    d1, d2 = (1, 1) if wrong else (2, 3)
    grad_second = [(g * shifted(h, d2 * i, d2 * j)).sum() for i, j in TAPS]
    back = conv(g, second, -d2)
    grad_first = [(back * shifted(x, d1 * i, d1 * j)).sum() for i, j in TAPS]
    return np.array(grad_first), np.array(grad_second)


def test_the_cosines_of_broken_are_those_of_an_independent_computation() -> None:
    tower = Tower("broken").double()
    with torch.no_grad():
        tower.first.get_parameter("bias").fill_(0.5)
        tower.second.get_parameter("bias").fill_(0.0)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 1, 9, 8, generator=generator, dtype=torch.float64)
    target = torch.randn(1, 72, generator=generator, dtype=torch.float64)

    class Dot(nn.Module):
        def forward(self, y: Tensor, target: Tensor) -> Tensor:
            return (y * target).sum()

    alignments = network_alignment(tower, Dot(), x, target)
    weights = [conv.weight.detach().numpy()[0, 0] for conv in (tower.first, tower.second)]
    image, g = x.numpy()[0, 0], target.numpy().reshape(9, 8)
    wrong, true = (numpy_grads(image, weights[0], g, weights[1], flag) for flag in (True, False))
    for name, ours, exact in zip(("first", "second"), wrong, true, strict=True):
        cosine = ours @ exact / np.linalg.norm(ours) / np.linalg.norm(exact)
        ratio = np.linalg.norm(ours) / np.linalg.norm(exact)
        signs = (np.sign(ours) == np.sign(exact)).mean()
        assert alignments[f"{name}.weight"] == pytest.approx((cosine, ratio, signs))
        assert cosine < 0.9


@pytest.mark.parametrize("backprop", CORRECT)
def test_the_cosines_of_a_right_rule_are_1(backprop: str) -> None:
    torch.manual_seed(0)
    cfg = compose_config(f"backprop={backprop}", "model.channels=2", "model.init=kaiming")
    data, learner = build(cfg)
    learner.double()
    x, target = data.train.batch(slice(4), torch.float64)
    for alignment in network_alignment(learner.network, learner.loss, x, target).values():
        assert alignment == pytest.approx((1, 1, 1), abs=1e-9)


def test_shortcuts_are_no_part_of_the_true_gradient() -> None:
    cfg = compose_config("model=post", "model.shortcut.scale=0.8")
    data, learner = build(cfg)
    learner.double()
    x, target = data.train.batch(slice(4), torch.float64)
    alignments = network_alignment(learner.network, learner.loss, x, target)
    assert alignments["context.layers.0.weight"].cosine < 0.99
    assert alignments["context.layers.7.weight"].cosine == pytest.approx(1)
    (shortcut,) = (m for m in learner.network.modules() if isinstance(m, GradientShortcuts))
    assert shortcut.scale == 0.8  # unchanged


def test_layer_cases_hold_what_the_layers_see() -> None:
    tower = Tower("broken").double()
    x = torch.randn(2, 1, 9, 8, dtype=torch.float64)
    first, second = layer_cases(tower, nn.MSELoss(), x, torch.zeros(2, 72, dtype=torch.float64))
    assert (first.name, first.dilation, second.name, second.dilation) == ("first", 2, "second", 3)
    torch.testing.assert_close(first.x, x)
    torch.testing.assert_close(second.x, tower.first(x).detach())
    y = tower(x).reshape(2, 1, 9, 8)
    torch.testing.assert_close(second.grad_output, 2 * y.detach() / y.numel())  # MSE's gradient
    assert not tower.first._forward_hooks
    assert tower.first.backprop == "broken"


@pytest.mark.parametrize("rule", [*CORRECT, *MISTAKES])
def test_layer_tensors_are_those_of_autograd_or_not(rule: str) -> None:
    x, weight, bias = operands(c=2, k=3, h=7, w=7)
    y = true_conv(x, weight, bias, 2, relu=True)
    torch.testing.assert_close(y, F.conv2d(x, weight, bias, padding=2, dilation=2).relu())
    tower = nn.Sequential(DilatedConv2d(2, 3, 3, 2, relu=True), nn.Flatten()).double()
    (case,) = layer_cases(tower, nn.MSELoss(), x, torch.zeros(2, 147, dtype=torch.float64))
    true, ours = (layer_tensors(op, case, torch.float64) for op in (true_conv, CONV_OPS[rule]))
    equal = {name: torch.allclose(ours[name], true[name], rtol=1e-9, atol=0) for name in true}
    assert equal["y"]
    assert all(equal.values()) == (rule in CORRECT)


@pytest.mark.parametrize(
    ("rule", "at_dilation_1", "at_dilation_2"),
    [
        ("auto", [], []),
        ("manual", [], []),
        ("manual_taps", [], []),
        ("broken", [], ["grad_x", "grad_weight"]),
        ("undilated_grad_x", [], ["grad_x"]),
        ("undilated_grad_weight", [], ["grad_weight"]),
        ("unrotated", ["grad_x"], ["grad_x"]),
        ("no_bias_grad", ["grad_bias"], ["grad_bias"]),
        ("draft", ["grad_x", "grad_weight"], ["grad_x", "grad_weight"]),
    ],
)
def test_gradcheck_names_what_is_wrong(
    rule: str, at_dilation_1: list[str], at_dilation_2: list[str]
) -> None:
    square = gradcheck_operands((7, 7), CPU)
    assert gradcheck_failures(CONV_OPS[rule], square, 1) == at_dilation_1
    assert gradcheck_failures(CONV_OPS[rule], square, 2) == at_dilation_2


def test_gradcheck_of_an_operator_that_raises() -> None:
    (failure,) = gradcheck_failures(CONV_OPS["draft"], gradcheck_operands((6, 5), CPU), 2)
    assert "raised ValueError" in failure
    assert "not 6x5" in failure


def test_difference_errors_fall_with_the_square_of_the_step_only_for_a_right_gradient() -> None:
    x, weight, bias = gradcheck_operands((7, 7), CPU)
    right = difference_errors(CONV_OPS["manual"], x, weight, bias, 2, [1e-2, 1e-3, 1e-4])
    assert right[0] / right[1] == pytest.approx(100, rel=0.05)
    assert right[1] / right[2] == pytest.approx(100, rel=0.05)
    wrong = difference_errors(CONV_OPS["broken"], x, weight, bias, 2, [1e-2, 1e-3, 1e-4])
    assert wrong[1] == pytest.approx(wrong[2], rel=1e-3)
    assert wrong[2] > 0.1


# in training

SHORT = (
    "callbacks=gradient_alignment",
    "callbacks.gradient_alignment.every=2",
    "model.channels=2",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=4",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
)


def measured(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "gradients.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_the_callback_records_every_layer(tmp_path: Path) -> None:
    train(compose_config(*SHORT, "backprop=manual"), tmp_path)
    rows = measured(tmp_path)
    layers = ["front_end", *(f"context.layers.{i}" for i in range(8)), "head.1"]
    assert [(int(row["step"]), row["layer"]) for row in rows] == [
        (step, layer) for step in (0, 2, 4, 6) for layer in layers
    ]
    for row in rows:
        assert float(row["cosine"]) == pytest.approx(1, abs=1e-4)
        assert float(row["norm_ratio"]) == pytest.approx(1, abs=1e-4)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for tag in ("cosine/front_end", "norm_ratio/head.1", "sign_agreement/context.layers.3"):
        assert [event.step for event in events.Scalars(tag)] == [0, 2, 4, 6]
    assert (tmp_path / "gradients.png").stat().st_size > 10_000


def test_the_recorded_cosines_of_broken_are_those_of_the_first_batch(tmp_path: Path) -> None:
    """Recomputed with .backward() under both rules, with the weights and the batch of step 0."""
    cfg = compose_config(*SHORT, "backprop=broken", "model.init=kaiming", "data.shift=0")
    train(cfg, tmp_path)
    L.seed_everything(0, workers=True, verbose=False)
    data, learner = build(cfg)
    index, _ = next(iter(data.train_dataloader().sampler))
    x, target = data.train.batch(index)
    vectors = []
    for rule in ("broken", "auto"):
        for module in learner.network.modules():
            if isinstance(module, DilatedConv2d):
                module.backprop = rule
        learner.zero_grad()
        F.cross_entropy(learner(x), target).backward()
        layer = learner.network.get_submodule("context.layers.4")
        vectors.append(torch.cat([p.grad.flatten() for p in layer.parameters()]))  # type: ignore[union-attr]
    ours, true = (vector.double().numpy() for vector in vectors)
    (row,) = (
        row
        for row in measured(tmp_path)
        if (row["step"], row["layer"]) == ("0", "context.layers.4")
    )
    norms = np.linalg.norm(ours), np.linalg.norm(true)
    assert float(row["cosine"]) == pytest.approx(ours @ true / norms[0] / norms[1], rel=1e-4)
    assert float(row["norm_ratio"]) == pytest.approx(norms[0] / norms[1], rel=1e-4)
    assert abs(float(row["cosine"])) < 0.9


def test_training_is_the_same_with_the_callback(tmp_path: Path) -> None:
    """The weights are the same, bit for bit."""
    without = [part for part in SHORT if "gradient_alignment" not in part]
    scores = train(compose_config(*SHORT, "backprop=broken"), tmp_path / "with")
    plain = train(compose_config(*without, "backprop=broken"), tmp_path / "without")
    timed = ("seconds", "train/images_per_second")
    assert {k: v for k, v in scores.items() if k not in timed} == {
        k: v for k, v in plain.items() if k not in timed
    }


def test_the_loss_decrease_is_that_of_the_step(tmp_path: Path) -> None:
    """With the same batch at every step, it is the difference of the losses that are logged."""
    cfg = compose_config(
        "callbacks=gradient_alignment",
        "callbacks.gradient_alignment.every=1",
        "debug=overfit",
        "model.channels=2",
        "trainer.max_epochs=4",
    )
    with pytest.raises(NotOverfit, match="4 steps"):  # too few to overfit, enough for us
        train(cfg, tmp_path)
    losses = np.array(scalars(tmp_path)["train/loss"])
    recorded = [
        float(row["loss_decrease"]) for row in measured(tmp_path) if row["layer"] == "front_end"
    ]
    assert recorded[:3] == pytest.approx(losses[:-1] - losses[1:], abs=1e-6)
    assert len(recorded) == 4


@pytest.mark.parametrize("accumulate", [2, 3, 10])
def test_accumulated_batches_are_measured_as_one(accumulate: int, tmp_path: Path) -> None:
    """The same as one step on all of them; epochs of four batches cut some windows short."""
    per_epoch = -(-4 // accumulate)
    few = ("callbacks.gradient_alignment.every=1", "data.shift=0", "backprop=broken")
    cfg = compose_config(*SHORT, *few, f"+trainer.accumulate_grad_batches={accumulate}")
    train(cfg, tmp_path / "parts")
    rows = measured(tmp_path / "parts")
    assert {int(row["step"]) for row in rows} == set(range(2 * per_epoch))
    assert len(rows) == 2 * per_epoch * 10
    assert (tmp_path / "parts" / "gradients.png").is_file()
    whole = compose_config(*SHORT, *few)
    whole.data.batch_size = 32 * min(accumulate, 4)
    train(whole, tmp_path / "whole")
    for row, expected in zip(rows[:10], measured(tmp_path / "whole")[:10], strict=True):
        assert row["layer"] == expected["layer"]
        for quantity in ("cosine", "norm_ratio", "loss_decrease"):
            value = float(expected[quantity])
            assert float(row[quantity]) == pytest.approx(value, rel=1e-3, abs=1e-5)


def test_the_figure_has_the_layers_from_top_to_bottom(tmp_path: Path) -> None:
    lines = ["step,layer,cosine,norm_ratio,sign_agreement,loss_decrease"]
    lines += [f"{step},{layer},0.5,nan,1,0.1" for step in (0, 50) for layer in ("a", "b")]
    (tmp_path / "gradients.csv").write_text("\n".join(lines) + "\n")
    table = read_alignment(tmp_path / "gradients.csv")
    assert (table.steps, table.layers) == ([0, 50], ["a", "b"])
    figure = plot_alignment(table)
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["a", "b"]
    assert figure.axes[0].yaxis_inverted()


def test_by_layer_joins_weight_and_bias() -> None:
    grads = {"a.weight": torch.ones(2, 1), "a.bias": torch.zeros(1), "b.c.weight": torch.ones(1)}
    joined = by_layer(grads)
    assert {name: grad.tolist() for name, grad in joined.items()} == {
        "a": [1.0, 1.0, 0.0],
        "b.c": [1.0],
    }
