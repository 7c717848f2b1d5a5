"""Hand-set kernels, output sizes, and the cost of convolutions."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from context_agg.analysis.filters import (
    KERNELS,
    apply_kernel,
    costs,
    output_size,
    photograph,
    separable,
)
from context_agg.analysis.reference import dilated_conv

FIVE = [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]
CROSS = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_the_worked_example_of_5x5() -> None:
    """A binary image and a kernel of five ones: the first value is 4, the rest counted by hand."""
    expected = [[4, 3, 4], [2, 4, 3], [2, 3, 4]]
    assert dilated_conv(np.array(FIVE, float), np.array(CROSS, float)).tolist() == expected


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_kernels_do_what_the_reference_does(name: str, dilation: int) -> None:
    image = torch.rand(1, 2, 12, 15, dtype=torch.float64)
    result = apply_kernel(image, name, dilation)
    assert result.shape == image.shape
    for channel in range(2):
        inside = dilated_conv(image[0, channel].numpy(), np.array(KERNELS[name], float), dilation)
        d = dilation
        np.testing.assert_allclose(result[0, channel, d:-d, d:-d], inside, atol=1e-12)


def test_what_kernels_do_to_a_constant_and_to_an_edge() -> None:
    constant = torch.full((1, 1, 6, 6), 0.5)
    gains = {name: float(apply_kernel(constant, name)[0, 0, 3, 3]) / 0.5 for name in KERNELS}
    assert gains == pytest.approx(
        {"blur": 9, "normalised blur": 1, "sharpen": 1, "edge": 0, "Sobel": 0, "emboss": 1}
    )
    step = torch.zeros(1, 1, 6, 6)
    step[:, :, :3] = 1  # light above dark
    assert apply_kernel(step, "Sobel")[0, 0, :, 2].tolist() == [0, 0, 4, 4, 0, 0]


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kernel 'blurr'; choose one of blur"):
        apply_kernel(torch.rand(1, 1, 3, 3), "blurr")


@pytest.mark.parametrize(
    ("size", "kernel", "options", "expected"),
    [
        (7, 3, {}, 5),
        (7, 3, {"stride": 2}, 3),
        (28, 5, {"padding": 2}, 28),
        (28, 2, {"stride": 2}, 14),
        (28, 3, {"dilation": 8, "padding": 8}, 28),
        (8, 3, {"stride": 3}, 2),
    ],
)
def test_output_sizes_are_pytorchs(
    size: int, kernel: int, options: dict[str, int], expected: int
) -> None:
    conv = nn.Conv2d(1, 1, kernel, **options)
    assert conv(torch.zeros(1, 1, size, size)).shape[-1] == expected
    assert output_size(size, kernel, **options) == expected


def test_a_kernel_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a span of 17 does not fit into 16 pixels"):
        output_size(16, 3, dilation=8)


@pytest.mark.parametrize("multiplier", [1, 3])
def test_costs_are_those_of_the_modules(multiplier: int) -> None:
    by_kind = costs(5, 4, 6, multiplier)
    modules: dict[str, nn.Module] = {
        "full": nn.Conv2d(4, 6, 5, bias=False),
        "depthwise": nn.Conv2d(4, 4 * multiplier, 5, groups=4, bias=False),
        "separable": separable(5, 4, 6, multiplier),
    }
    for kind, module in modules.items():
        assert by_kind[kind].weights == sum(p.numel() for p in module.parameters())


def test_a_separable_convolution_is_a_full_one_of_low_rank() -> None:
    torch.manual_seed(0)
    module = separable(3, 4, 6, dilation=2).double()
    depthwise, pointwise = (parameter.detach() for parameter in module.parameters())
    full = pointwise * depthwise[:, 0][None]  # (6, 4, 1, 1) (1, 4, 3, 3)
    x = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    torch.testing.assert_close(module(x), F.conv2d(x, full, padding=2, dilation=2))


def test_the_photograph_is_real_and_grey() -> None:
    image = photograph()
    assert image.shape == (1, 1, 256, 256)
    assert 0 <= float(image.min()) < 0.1 < 0.8 < float(image.max()) <= 1
    assert len(image.unique()) > 150
