"""Front ends, and the networks after them."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from context_agg.networks.context_net import ContextNet
from context_agg.networks.front_ends import FrontEnd, FrontEndNet

DENSE: dict[str, Any] = {"in_channels": 1, "image_size": (14, 13), "num_classes": 5, "dense": True}


def small(stride: int = 1) -> Any:
    return lambda **shapes: FrontEnd([4, 6], stride, **shapes)


@pytest.mark.parametrize(
    ("stride", "size"), [(1, (14, 13)), (2, (7, 6)), (3, (4, 4)), (4, (3, 3)), (6, (2, 2))]
)
def test_class_maps_are_smaller_by_the_stride(stride: int, size: tuple[int, int]) -> None:
    front_end = FrontEnd([4, 6], stride, in_channels=1, num_classes=5)
    maps = front_end(torch.rand(2, 1, 14, 13))
    assert maps.shape == (2, 5, *size)
    assert maps.min() < 0 < maps.max()  # linear
    weights = 4 * 9 + 4 + 6 * 4 * 9 + 6 + 5 * 6 + 5
    assert sum(p.numel() for p in front_end.parameters()) == weights


def test_a_stride_of_four_pools_after_each_of_the_first_two_layers() -> None:
    front_end = FrontEnd([4, 6, 8], 4, in_channels=1, num_classes=5)
    x = torch.rand(2, 1, 14, 13)
    one, two, three = (m for m in front_end.layers if isinstance(m, torch.nn.Conv2d))
    maps = x
    for layer in (one, two):
        maps = F.conv2d(maps, layer.weight, layer.bias, padding=1).relu()
        maps = F.max_pool2d(maps, 2)
    maps = F.conv2d(maps, three.weight, three.bias, padding=1).relu()
    last = front_end.classifier
    expected = F.conv2d(maps, last.weight, last.bias)
    torch.testing.assert_close(front_end(x), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_identity_passes_the_class_maps_on(stride: int) -> None:
    """If they are not negative; they are enlarged to the image bilinearly."""
    net = ContextNet(None, (1, 2), (1, 1), front_end=small(stride), **DENSE)
    x = torch.rand(2, 1, 14, 13)
    maps = net.front_end(x).relu()
    expected = F.interpolate(maps, (14, 13), mode="bilinear", align_corners=False)
    torch.testing.assert_close(net(x), expected if stride > 1 else maps)
    assert isinstance(net.head, torch.nn.Identity)


def test_lifted_class_maps_have_the_same_probabilities_and_pass_the_identity() -> None:
    front_end = FrontEnd([4, 6], in_channels=1, num_classes=5)
    x = torch.rand(2, 1, 14, 13)
    maps = front_end(x)
    front_end.lift = -float(maps.detach().min())
    lifted = front_end(x)
    torch.testing.assert_close(lifted.softmax(1), maps.softmax(1))
    net = ContextNet(None, (1, 2), (1, 1), front_end=lambda **_: front_end, **DENSE)
    assert torch.equal(net(x), lifted)
    front_end.lift = 0
    assert not torch.equal(net(x), maps)  # negative values become 0


def test_a_front_end_alone_has_the_parameters_of_that_in_the_whole_network() -> None:
    alone, whole = (
        FrontEndNet(small(2), **DENSE),
        ContextNet(None, (1, 2), (1, 1), front_end=small(2), **DENSE),
    )
    assert alone(torch.rand(2, 1, 14, 13)).shape == (2, 5, 14, 13)
    names = {name for name in whole.state_dict() if name.startswith("front_end.")}
    assert names == set(alone.state_dict())


def test_without_a_front_end_c_maps_become_classes() -> None:
    net = ContextNet(8, (1, 2), (1, 1), **DENSE)
    assert net(torch.rand(1, 1, 9, 9)).shape == (1, 5, 9, 9)
    assert isinstance(net.head, torch.nn.Conv2d)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: FrontEnd([], in_channels=1, num_classes=2),
            "widths=[] must name at least one layer",
        ),
        (lambda: FrontEnd([0], in_channels=1, num_classes=2), "widths=[0] must"),
        (
            lambda: FrontEnd([2], 0, in_channels=1, num_classes=2),
            "stride=0 must be a whole number, 1 or more",
        ),
        (
            lambda: FrontEnd([2, 2], 8, in_channels=1, num_classes=2),
            "stride=8 has 3 poolings, each behind a layer, but widths=[2, 2] has 2 layers",
        ),
        (lambda: FrontEndNet(None, **DENSE), "front_end=small"),
        (lambda: FrontEndNet(small(), **{**DENSE, "dense": False}), "take dense data"),
        (
            lambda: ContextNet(None, [1], [1], front_end=small(), **{**DENSE, "dense": False}),
            "take dense data",
        ),
        (
            lambda: ContextNet(4, [1], [1], front_end=small(), **DENSE),
            "channels=4: behind a front end there is one map for each of the 5 classes",
        ),
        (
            lambda: ContextNet(4, [1], [1], padding="valid", **DENSE),
            "padding='valid' leaves pixels at the border without a class",
        ),
    ],
)
def test_a_network_that_cannot_be_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        build()
