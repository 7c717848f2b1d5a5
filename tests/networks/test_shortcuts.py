"""Gradient shortcuts between the layers of a stack."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from context_agg.cli.compose import compose_config
from context_agg.networks.context import ContextModule
from context_agg.networks.post import PostContext
from context_agg.networks.shortcuts import GradientShortcuts
from context_agg.train import train
from tests.tiny_run import scalars


class Scale(nn.Module):
    """y = a x, so that gradients are products of few numbers."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x: Tensor) -> Tensor:
        return self.a * x


def scales_grads(shortcut: GradientShortcuts, x: float = 1.0) -> list[float]:
    """d(output)/da of five layers y = a x with a = 2, 3, 5, 7, 11, with the shortcuts."""
    layers = [Scale(a) for a in (2.0, 3.0, 5.0, 7.0, 11.0)]
    shortcut(torch.tensor(x), layers).backward()
    return [float(layer.a.grad) for layer in layers if layer.a.grad is not None]


def test_the_hand_computed_case() -> None:
    """The gradients that arrive at the layers' outputs, from the last to the first.

    The last layer receives 1. It sends 11 to the fourth, which sends 7 x 11 = 77. The third
    receives only 77, as too few gradients lie above it for a window of 2; it sends 5 x 77 = 385.
    The second receives 385 + s (77 + 11) and sends 3 times that, g_2 = 3 (385 + 88 s). The first
    receives g_2 + s (385 + 77), where 385 is the gradient that the third sent.
    """
    s = 0.5
    second = 385 + s * (77 + 11)
    first = 3 * second + s * (385 + 77)
    inputs = [1.0, 2.0, 6.0, 30.0, 210.0]
    received = [first, second, 77.0, 11.0, 1.0]
    expected = [x * g for x, g in zip(inputs, received, strict=True)]
    assert scales_grads(GradientShortcuts(s, window=2)) == pytest.approx(expected)


def test_a_window_of_all_later_layers() -> None:
    """Every layer but the last two also receives all gradients emitted before its neighbour's."""
    s = 0.5
    third = 77 + s * 11
    second = 5 * third + s * (77 + 11)
    first = 3 * second + s * (5 * third + 77 + 11)
    inputs = [1.0, 2.0, 6.0, 30.0, 210.0]
    received = [first, second, third, 11.0, 1.0]
    expected = [x * g for x, g in zip(inputs, received, strict=True)]
    assert scales_grads(GradientShortcuts(s, window=None)) == pytest.approx(expected)


def test_the_scale_decays_with_the_epochs() -> None:
    decayed = GradientShortcuts(0.8, decay=0.1)
    decayed.epoch = 10
    assert scales_grads(decayed) == pytest.approx(scales_grads(GradientShortcuts(0.4)))


def module_grads(shortcut: GradientShortcuts | None, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(0)
    module = ContextModule.basic(4, init="kaiming")
    y = shortcut(x, module.convolutions) if shortcut else module(x)
    y.square().sum().backward()
    return y, [p.grad for p in module.parameters() if p.grad is not None]


def test_scale_0_is_the_plain_gradient_bit_for_bit() -> None:
    x = torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(1))
    y, grads = module_grads(None, x)
    same_y, same_grads = module_grads(GradientShortcuts(0.0, 0.1, 3), x)
    assert torch.equal(y, same_y)
    assert all(map(torch.equal, grads, same_grads))


def test_the_forward_is_unchanged_and_the_last_layers_have_the_plain_gradient() -> None:
    x = torch.randn(2, 4, 9, 7, generator=torch.Generator().manual_seed(1))
    y, grads = module_grads(None, x)
    same_y, others = module_grads(GradientShortcuts(0.8), x)
    assert torch.equal(y, same_y)
    equal = [torch.equal(a, b) for a, b in zip(grads, others, strict=True)]
    assert equal == [False] * 10 + [True] * 6  # weight and bias of eight layers


def test_a_second_backward_pass_starts_anew() -> None:
    shortcut = GradientShortcuts(0.5)
    assert scales_grads(shortcut) == scales_grads(shortcut)
    layers = [Scale(a) for a in (2.0, 3.0, 5.0, 7.0, 11.0)]
    y = shortcut(torch.tensor(1.0), layers)
    y.backward(retain_graph=True)
    once = [float(p.a.grad) for p in layers if p.a.grad is not None]
    y.backward()
    twice = [float(p.a.grad) for p in layers if p.a.grad is not None]
    assert twice == pytest.approx([2 * g for g in once])


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()) / (a.norm() * b.norm()))


def stack_cosines(scale: float, images: Tensor, networks: int) -> list[float]:
    """Each layer's cosine with the true gradient, the median over networks."""
    cosines = []
    for seed in range(networks):
        grads: list[list[Tensor]] = []
        for shortcut in (None, GradientShortcuts(scale)):
            torch.manual_seed(seed)
            stack = PostContext((1, 1, 2, 4, 8, 16, 1, 1), 1.0, shortcut).double()
            y = stack(images)
            torch.manual_seed(seed)
            (y * torch.randn_like(y)).sum().backward()
            grads.append([p.grad for p in stack.parameters() if p.grad is not None])
        if all(g.norm() > 0 for g in grads[0]):  # the gradient of a dead network has no direction
            cosines.append([cosine(a, b) for a, b in zip(*grads, strict=True)])
    assert len(cosines) > networks / 2
    return torch.tensor(cosines).median(0).values.tolist()


def test_cosines_with_the_true_gradient_fall_from_the_last_layer_to_the_first() -> None:
    """Measured earlier in the post's stack with its head: 0.41 0.55 0.69 0.64 0.76 1 1 1."""
    images = torch.rand(8, 1, 28, 28, dtype=torch.float64)
    cosines = stack_cosines(0.8, images, networks=20)
    assert cosines[5:] == pytest.approx([1, 1, 1])
    assert all(0 < c < 0.95 for c in cosines[:5])
    assert cosines[0] < cosines[4]


def test_the_learner_counts_the_epochs(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = []
    forward = GradientShortcuts.forward

    def watched(self: GradientShortcuts, x: Tensor, layers: Any) -> Tensor:
        if x.requires_grad or torch.is_grad_enabled():
            epochs.append(self.epoch)
        return forward(self, x, layers)

    monkeypatch.setattr(GradientShortcuts, "forward", watched)
    train(
        compose_config(
            "model=post",
            "model.shortcut.scale=0.8",
            "trainer.max_epochs=3",
            "trainer.limit_train_batches=2",
            "trainer.limit_val_batches=1",
            "trainer.limit_test_batches=1",
        ),
        tmp_path,
    )
    assert epochs == [0, 0, 1, 1, 2, 2]
    assert len(scalars(tmp_path)["train/loss"]) == 3
