"""Logits in tiles are those of the whole image, and what is in memory is bounded by the tile."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from context_agg.analysis.receptive_field import support
from context_agg.data.pixels import network_input
from context_agg.networks.context_net import ContextNet
from context_agg.networks.front_ends import FrontEnd, FrontEndNet
from context_agg.networks.tiles import largest_inputs, logits_in_tiles, view_of
from tests.joined_tiles import joined
from tests.largest_tensor import LargestTensor

SHAPES: dict[str, Any] = {"in_channels": 3, "image_size": (8, 8), "num_classes": 4, "dense": True}


def network(stride: int, padding: str = "same") -> ContextNet:
    """With weights that let every pixel matter, in float64."""
    made = ContextNet(
        None,
        [1, 3, 1],
        [1, 2, 1],
        front_end=partial(FrontEnd, [5, 4, 3], stride),
        padding=padding,
        init="xavier",
        **SHAPES,
    ).double()
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            nn.init.uniform_(parameter, 0, 0.5)  # so that padding is no neutral value
    return made.eval()


def front_end_net() -> FrontEndNet:
    return FrontEndNet(partial(FrontEnd, [4, 4], 2), **SHAPES).double().eval()


def pixels(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("stride", "padding", "size", "tile"),
    [
        (1, "same", (61, 47), 13),
        (1, "once", (61, 47), 13),
        (1, "same", (7, 90), 16),  # lower than a tile and than the view
        (4, "same", (131, 94), 32),  # no multiples of the stride
        (4, "same", (131, 94), 21),  # and tiles that are none either
        (4, "once", (67, 129), 30),
        (6, "same", (101, 77), 35),
        (2, "same", (45, 3), 5),
        (4, "same", (9, 6), 1),
        (1, "same", (20, 30), 30),
        (4, "same", (23, 31), 512),
    ],
)
def test_the_tiles_of_any_size_make_the_logits_of_the_whole_image(
    stride: int, padding: str, size: tuple[int, int], tile: int
) -> None:
    net, image = network(stride, padding), pixels(*size)
    with torch.no_grad():
        whole = net(network_input(image[None], torch.float64))[0]
    assert float(whole.std()) > 1e-3
    torch.testing.assert_close(joined(net, image, tile), whole, rtol=0, atol=1e-9)


def test_a_front_end_alone_is_cut_into_tiles_too() -> None:
    net, image = front_end_net(), pixels(37, 51)
    with torch.no_grad():
        whole = net(network_input(image[None], torch.float64))[0]
    torch.testing.assert_close(joined(net, image, 9), whole, rtol=0, atol=1e-9)


def test_without_its_margin_a_tile_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """One stride less is seen: the test above would notice a margin that is too small."""
    net, image = network(4), pixels(131, 94)
    view = view_of(net)
    with torch.no_grad():
        whole = net(network_input(image[None], torch.float64))[0]
    short = type(view)(view.stride, view.margin - view.stride)
    monkeypatch.setattr("context_agg.networks.tiles.view_of", lambda _: short)
    assert float((joined(net, image, 32) - whole).abs().max()) > 1e-6


@pytest.mark.parametrize("stride", [1, 2, 4, 6])
def test_the_view_is_what_the_gradient_reaches(stride: int) -> None:
    """All weights are positive and so is the image: no path is cut by a ReLU.

    A max pooling passes one path on. So every pixel of the image is the greatest in one of the
    tries, and the views are put together.
    """
    net = network(stride)
    for parameter in net.parameters():
        nn.init.uniform_(parameter, 0.1, 1)
    view = view_of(net)
    side = 16 * stride + 2 * view.margin
    side -= side % stride
    reached = torch.zeros(side, side, dtype=torch.bool)
    middle = side // stride // 2
    for _ in range(40 if stride > 1 else 1):
        x = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
        net.class_maps(x)[0, 0, middle, middle].backward()
        assert x.grad is not None
        reached |= x.grad[0].abs().sum(0) > 0
    assert support(reached) == (view.stride + 2 * view.margin,) * 2
    first = int(reached.any(1).nonzero()[0])
    assert first == middle * stride - view.margin


def tensors(stride: int, size: tuple[int, int]) -> tuple[int, int]:
    """Bytes of the largest tensor while an image is labelled, and those of its logits."""
    net, labels = network(stride), torch.zeros(size, dtype=torch.uint8)
    with LargestTensor() as seen, torch.no_grad():
        for rows, columns, logits in logits_in_tiles(net, pixels(*size), 32):
            labels[rows, columns] = logits.argmax(0)
    return seen.largest, 4 * 8 * size[0] * size[1]


@pytest.mark.parametrize("stride", [1, 4])
def test_no_tensor_grows_with_the_image(stride: int) -> None:
    small, _ = tensors(stride, (160, 160))
    large, logits = tensors(stride, (160, 960))
    assert large == small
    assert large < logits / 2


def test_the_largest_input_is_the_largest_that_the_network_gets() -> None:
    net, image, got = network(4), pixels(131, 294), []
    net.front_end.register_forward_pre_hook(lambda _, inputs: got.append(inputs[0].shape[2:]))
    joined(net, image, 32)
    height, width = (max(sides) for sides in zip(*got, strict=True))
    assert largest_inputs(net, (3, 131, 294), 32) == [(net, (3, height, width))]
    assert largest_inputs(net, (3, 32, 5), 32) == [(net, (3, 32, 5))]


@pytest.fixture(params=["a layer", "no class maps"])
def foreign(request: pytest.FixtureRequest) -> tuple[nn.Module, str]:
    if request.param == "a layer":
        net = front_end_net()
        sees_all = nn.InstanceNorm2d(4)
        net.front_end = nn.Sequential(net.front_end, sees_all)
        return net, "InstanceNorm2d"
    return nn.Sequential(nn.Conv2d(3, 4, 1)).double(), "Sequential"


def test_what_is_not_known_is_not_cut(foreign: tuple[nn.Module, str]) -> None:
    net, name = foreign
    with pytest.raises(ValueError, match=f"how far {name} sees is not known; take a --tile as"):
        joined(net, pixels(9, 33), 32)
    assert joined(net, pixels(9, 32), 32).shape == (4, 9, 32)
