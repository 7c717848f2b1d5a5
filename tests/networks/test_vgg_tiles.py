"""Behind VGG-16 too, logits in tiles are those of the whole image, in bounded memory."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from context_agg.data.pixels import network_input
from context_agg.networks import vgg_tiles
from context_agg.networks.context_net import ContextNet
from context_agg.networks.front_ends import FrontEndNet
from context_agg.networks.spans import Span
from context_agg.networks.tiles import largest_inputs, logits_in_tiles
from context_agg.networks.vgg import UPSAMPLINGS, VGGFrontEnd
from tests.joined_tiles import joined
from tests.largest_tensor import LargestTensor

NARROW = [2, 3, 3, 4, 4, 5]
SHAPES: dict[str, Any] = {"in_channels": 3, "image_size": (8, 8), "num_classes": 4, "dense": True}
DILATION7, DILATION8 = [1, 1, 2, 4, 8, 1], [1, 1, 2, 4, 8, 16, 1]
DILATION10 = [1, 1, 2, 4, 8, 16, 32, 64, 1]


def network(
    dilations: list[int] | None, upsampling: str = "bilinear", padding: str = "same"
) -> ContextNet | FrontEndNet:
    """With weights that let every pixel matter, in float64; without dilations the front end."""
    front_end = partial(VGGFrontEnd, NARROW, upsampling=upsampling)
    made: ContextNet | FrontEndNet
    if dilations is None:
        made = FrontEndNet(front_end, **SHAPES)
    else:
        widths = [1] * (len(dilations) - 1) + [2]
        made = ContextNet(None, dilations, widths, front_end=front_end, padding=padding, **SHAPES)
    made.double().eval()
    torch.manual_seed(0)
    for conv in made.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.kaiming_normal_(conv.weight)
            assert conv.bias is not None
            nn.init.uniform_(conv.bias, 0, 0.5)  # so that padding is no neutral value
    return made


def pixels(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def at_once(net: nn.Module, image: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = net(network_input(image[None], torch.float64))[0]
    return logits


@pytest.mark.parametrize(
    ("dilations", "upsampling", "padding", "size", "tile"),
    [
        (None, "bilinear", "same", (131, 94), 48),
        (None, "deconvolution", "same", (97, 61), 48),  # one pixel in the last blocks
        (None, "probabilities", "same", (97, 65), 48),
        (None, "probabilities", "same", (25, 17), 5),  # tiles smaller than a block
        (DILATION7, "probabilities", "same", (141, 211), 64),
        (DILATION8, "probabilities", "same", (131, 350), 96),
        (DILATION8, "probabilities", "once", (131, 350), 96),
        (DILATION8, "bilinear", "same", (350, 131), 100),
        (DILATION8, "bilinear", "same", (9, 90), 40),  # lower than a tile
        (DILATION10, "deconvolution", "same", (150, 1205), 135),  # wider than a view
        (DILATION10, "deconvolution", "same", (20, 30), 512),
    ],
)
def test_the_tiles_of_any_size_make_the_logits_of_the_whole_image(
    dilations: list[int] | None, upsampling: str, padding: str, size: tuple[int, int], tile: int
) -> None:
    net, image = network(dilations, upsampling, padding), pixels(*size)
    whole = at_once(net, image)
    assert float(whole.std(dim=(1, 2)).min()) > 1e-4
    torch.testing.assert_close(joined(net, image, tile), whole, rtol=0, atol=1e-10)


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_without_the_entries_beside_its_own_a_tile_is_wrong(
    upsampling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first test would notice a seam: a pixel lies between its own block and another."""
    whole_spans = vgg_tiles._spans

    def own_alone(size: int, tile: int, margin: int) -> list[Span]:
        found = []
        for span in whole_spans(size, tile, margin):
            own = slice(span.pixels.start // 8, -(-span.pixels.stop // 8))
            found.append(Span(span.pixels, own, own))
        return found

    net, image = network(None, upsampling), pixels(97, 61)
    monkeypatch.setattr(vgg_tiles, "_spans", own_alone)
    difference = (joined(net, image, 48) - at_once(net, image)).abs()
    assert float(difference.max()) > 1e-6


def test_without_its_margin_a_tile_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """One entry less is seen: the first test would notice a margin that is too small."""
    net, image = network(DILATION8), pixels(20, 900)
    right = vgg_tiles._refinement(net)
    monkeypatch.setattr(vgg_tiles, "_refinement", lambda _: (right[0], right[1] - 1))
    difference = (joined(net, image, 96) - at_once(net, image)).abs()
    assert float(difference.max()) > 1e-6


def largest_tensor(size: tuple[int, int]) -> int:
    """Bytes of the largest tensor while an image is labelled in tiles of 32."""
    net, labels = network(DILATION8), torch.zeros(size, dtype=torch.uint8)
    with LargestTensor() as seen, torch.no_grad():
        for rows, columns, logits in logits_in_tiles(net, pixels(*size), 32):
            labels[rows, columns] = logits.argmax(0)
    largest: int = seen.largest
    return largest


def test_no_tensor_of_a_tile_grows_with_the_image() -> None:
    assert largest_tensor((32, 640)) == largest_tensor((32, 96))


def test_the_largest_inputs_are_the_largest_that_the_parts_get() -> None:
    net, image = network(DILATION8), pixels(50, 694)
    assert isinstance(net, ContextNet)
    assert isinstance(net.front_end, VGGFrontEnd)
    got: dict[nn.Module, list[torch.Size]] = {net.front_end.layers: [], net.context: []}
    for part, shapes in got.items():
        part.register_forward_pre_hook(lambda _, x, shapes=shapes: shapes.append(x[0].shape[1:]))
    joined(net, image, 40)
    first, second = (tuple(map(max, zip(*shapes, strict=True))) for shapes in got.values())
    (front_end, (_, height, width)), (refine, seen), (_, tile) = largest_inputs(
        net, (3, 50, 694), 40
    )
    assert front_end is net.front_end
    assert first == (3, height + 372, width + 372)
    assert list(refine.children()) == [net.context, net.head]
    assert seen == second
    assert tile == (4, 25, 39)
    assert largest_inputs(net, (3, 40, 8), 40) == [(net, (3, 40, 8))]
