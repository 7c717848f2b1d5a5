"""The plain numpy reference, and comparisons with it."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from context_agg.analysis.reference import (
    EDGE_KERNEL,
    cross_image,
    dilated_conv,
    multi_scale,
)


def test_one_dimension_by_hand() -> None:
    """1..10 with (1, 1, 1): three consecutive numbers, then every second, then every fourth."""
    signal, ones = np.arange(1.0, 11), np.ones(3)
    assert dilated_conv(signal, ones).tolist() == [6, 9, 12, 15, 18, 21, 24, 27]
    assert dilated_conv(signal, ones, 2).tolist() == [9, 12, 15, 18, 21, 24]
    assert dilated_conv(signal, ones, 4).tolist() == [15, 18]


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize(
    ("conv", "size", "side"),
    [(F.conv1d, (20,), (4,)), (F.conv2d, (9, 12), (3, 2)), (F.conv3d, (8, 9, 10), (2, 3, 3))],
)
def test_it_is_pytorchs(
    conv: Any, size: tuple[int, ...], side: tuple[int, ...], dilation: int
) -> None:
    generator = np.random.default_rng(0)
    x, kernel = generator.standard_normal(size), generator.standard_normal(side)
    operands = (torch.tensor(array)[None, None] for array in (x, kernel))
    expected = conv(*operands, dilation=dilation)[0, 0]
    np.testing.assert_allclose(dilated_conv(x, kernel, dilation), expected, rtol=1e-11)


def test_the_cross_and_its_edges() -> None:
    """Values and counts, worked out by hand from the eight neighbours of each kind of pixel."""
    image = cross_image()
    assert image.sum() == 2 * 32 - 4
    one, two = (dilated_conv(image, EDGE_KERNEL, dilation) for dilation in (1, 2))
    assert (one.shape, two.shape) == ((14, 14), (12, 12))
    assert Counter(one.ravel().tolist()) == {-5: 4, -3: 40, 0: 100, 1: 4, 2: 8, 3: 40}
    assert Counter(two.ravel().tolist()) == {-5: 16, -3: 48, 0: 36, 4: 20, 6: 24}


def test_the_four_scales_keep_the_size_even_where_the_kernel_spans_more() -> None:
    """Dilation 8 spans 17 pixels, but the image has 16; compares with PyTorch's padding."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((16, 16))
    kernels = [0.1 * generator.standard_normal((3, 3)) for _ in range(4)]
    maps = multi_scale(x, kernels)
    y = torch.tensor(x)[None, None]
    for result, kernel, dilation in zip(maps, kernels, (1, 2, 4, 8), strict=True):
        weight = torch.tensor(kernel)[None, None]
        y = F.conv2d(y, weight, padding=dilation, dilation=dilation)
        np.testing.assert_allclose(result, y[0, 0], rtol=1e-10, atol=1e-15)
    assert np.abs(maps[-1]).max() > 0


@pytest.mark.parametrize(
    ("x", "kernel", "message"),
    [
        (np.ones((16, 16)), np.ones((3, 3)), r"needs \(17, 17\), but x is \(16, 16\)"),
        (np.ones(5), np.ones((3, 3)), "x has 1 dimensions, the kernel 2"),
    ],
)
def test_what_does_not_fit_is_refused(x: np.ndarray, kernel: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dilated_conv(x, kernel, 8)
