"""Shifts of the image and shifts of the output."""

import pytest
import torch
import torch.nn.functional as F

from context_agg.analysis.equivariance import (
    PoolingNet,
    circular,
    crop_error,
    shift_error,
)
from context_agg.networks.context import ContextModule


def image(channels: int = 2, side: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(1, channels, side, side, generator=generator, dtype=torch.float64)


def module(padding: str, init: str = "kaiming") -> ContextModule:
    torch.manual_seed(0)
    return ContextModule.basic(2, init=init, padding=padding).double()


def test_padding_once_around_a_torus_is_padding_every_layer() -> None:
    """Compares with F.pad before each layer, which keeps the size."""
    ours = module("valid")
    x = image(side=40)
    y = x
    for conv in ours.convolutions:
        margin = conv.margin
        y = F.pad(y, (margin,) * 4, mode="circular")
        y = F.conv2d(y, conv.weight, conv.bias, dilation=conv.dilation)
        y = y.relu() if conv.relu else y
    torch.testing.assert_close(circular(ours)(x), y)


@pytest.mark.parametrize("shift", [1, 2, 3, 7, 8])
def test_a_dilated_stack_moves_with_the_image(shift: int) -> None:
    assert shift_error(circular(module("valid")), image(), shift) < 1e-13
    assert crop_error(module("valid"), image(side=80), shift) < 1e-13


def test_a_pooling_net_moves_only_by_its_stride() -> None:
    torch.manual_seed(0)
    net = PoolingNet(2).double()
    errors = {shift: shift_error(net, image(), shift) for shift in range(1, 9)}
    assert all(errors[shift] < 1e-13 for shift in (4, 8))
    assert all(errors[shift] > 0.01 for shift in (1, 2, 3, 5, 6, 7))


def test_zero_padding_is_seen() -> None:
    assert shift_error(module("same"), image(), 4) > 0.01


def test_the_identity_does_not_see_its_padding() -> None:
    assert shift_error(module("same", init="identity"), image(), 4) == 0


def test_padding_has_to_be_known() -> None:
    with pytest.raises(ValueError, match="padding='valid', not 'same'"):
        circular(module("same"))
    with pytest.raises(ValueError, match="padding='valid', not 'once'"):
        crop_error(module("once"), image(), 1)
