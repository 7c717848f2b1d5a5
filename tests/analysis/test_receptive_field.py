"""Receptive fields: by formula, by counting paths, and measured by gradients."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from context_agg.analysis.receptive_field import (
    coverage,
    effective_side,
    input_gradient,
    module_weight,
    paths,
    plot_gridding,
    plot_growth,
    plot_measured,
    plot_taps,
    receptive_fields,
    support,
)
from context_agg.networks.context import DILATIONS, ContextModule


def test_the_fields_of_table_1() -> None:
    module = ContextModule.basic(2)
    assert receptive_fields(module.convolutions) == [3, 5, 9, 17, 33, 65, 67, 67]
    assert receptive_fields(module.convolutions)[-1] == module.receptive_field


@pytest.mark.parametrize("dilations", [(1,), (2, 2, 2), (1, 2, 4), (1, 2, 5), (3, 1)])
def test_paths_are_those_that_can_be_walked(dilations: tuple[int, ...]) -> None:
    """Counts every choice of one tap per layer, one by one."""
    side = 1 + 2 * sum(dilations)
    counts = np.zeros((side, side), dtype=int)
    steps = list(product((-1, 0, 1), repeat=2))
    for taps in product(steps, repeat=len(dilations)):
        row = sum(d * tap[0] for d, tap in zip(dilations, taps, strict=True))
        column = sum(d * tap[1] for d, tap in zip(dilations, taps, strict=True))
        counts[side // 2 + row, side // 2 + column] += 1
    np.testing.assert_array_equal(paths(dilations), counts)


def test_the_views_of_the_papers_figure_1() -> None:
    assert [len(paths((1, 2, 4)[: layer + 1])) for layer in range(3)] == [3, 7, 15]
    assert coverage((1, 2, 4)) == 1


def test_gridding_by_hand() -> None:
    """Per line, (2, 2, 2) sees 7 of 13 positions, and (2, 4, 8) the 15 even ones of 29."""
    assert coverage((2, 2, 2)) == pytest.approx((7 / 13) ** 2)
    assert coverage((2, 4, 8)) == pytest.approx((15 / 29) ** 2)
    assert coverage((1, 2, 5)) == coverage(DILATIONS) == 1


@pytest.mark.parametrize("init", ["normal", "kaiming", "xavier"])
def test_a_random_module_sees_all_of_its_field_and_no_more(init: str) -> None:
    torch.manual_seed(0)
    weight = module_weight(ContextModule.basic(4, init=init))
    assert support(weight) == (67, 67)
    assert 33 < effective_side(weight) <= 67
    for positions in weight.nonzero().unbind(1):
        assert (int(positions.min()), int(positions.max())) == (7, 73)  # symmetric about 40


def test_the_identity_sees_one_pixel() -> None:
    weight = module_weight(ContextModule.basic(4))
    assert (support(weight), effective_side(weight)) == ((1, 1), 1)
    assert weight[40, 40] > 0


def test_the_gradient_of_a_known_kernel_is_the_kernel() -> None:
    """With one map and one layer, the gradient is a random number times the kernel."""
    conv = nn.Conv2d(1, 1, 3, padding=2, dilation=2).double()
    x = torch.rand(3, 1, 9, 9, dtype=torch.float64)
    weight = input_gradient(conv, x, torch.Generator().manual_seed(0))
    kernel = conv.weight.detach().abs()[0, 0]
    seen = weight[2:7:2, 2:7:2]
    torch.testing.assert_close(seen / seen.sum(), kernel / kernel.sum())
    assert float(weight.sum()) == pytest.approx(float(seen.sum()))


def test_support_and_effective_side_by_hand() -> None:
    weight = torch.zeros(7, 9)
    weight[3, 4], weight[1, 4], weight[3, 8] = 90, 6, 4
    assert support(weight) == (3, 5)
    assert [effective_side(weight, share) for share in (0.9, 0.95, 1.0)] == [1, 5, 9]
    with pytest.raises(ValueError, match="nothing reaches"):
        effective_side(torch.zeros(3, 3))


def test_the_figures_say_what_the_functions_say() -> None:
    assert plot_taps().axes[2].get_title() == "dilation 4: the first output spans 9 samples"
    growth = [axes.get_title() for axes in plot_growth().axes]
    assert growth == ["(a) dilation 1: 3x3", "(b) dilation 2: 7x7", "(c) dilation 4: 15x15"]
    assert plot_gridding([(2, 2, 2), (1, 2, 5)]).axes[0].get_title() == "2 2 2\n29 % seen"
    weight = module_weight(ContextModule.basic(2), images=1)
    assert plot_measured({"identity": weight}).axes[0].get_title().endswith("sees 1x1, 95 % in 1")
