"""The maps of a frozen front end are computed once, and are those that it would make again."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from context_agg.networks.context_net import ContextNet
from context_agg.networks.front_ends import FrontEnd
from context_agg.networks.map_cache import MapCache


class Counted(nn.Module):
    """A front end that counts the images that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = FrontEnd([4], 2, in_channels=3, num_classes=5)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += len(x)
        maps: Tensor = self.inner(x)
        return maps


def test_an_image_and_its_mirror_image_are_computed_once_each() -> None:
    front_end = Counted()
    cache = MapCache(front_end)
    x = torch.rand(5, 3, 12, 9)
    both = torch.cat([x, x.flip(3)])
    for _ in range(3):
        for order in (torch.arange(10), torch.randperm(10)):
            torch.testing.assert_close(cache(both[order]), front_end.inner(both[order]).detach())
    assert front_end.seen == 10
    cache(x.reshape(5, 3, 9, 12))  # the same bytes, another image
    assert front_end.seen == 15


def test_a_map_does_not_depend_on_the_other_images_of_a_batch() -> None:
    """To the last bit, so that a run that goes on meets the same maps."""
    front_end = FrontEnd([16, 8], 2, in_channels=3, num_classes=5)
    x = torch.rand(7, 3, 31, 22)
    together = MapCache(front_end)(x)
    cache = MapCache(front_end)
    apart = torch.cat([cache(x[4:]), cache(x[:1]), cache(x[:4])[1:]])
    assert torch.equal(apart, together[[4, 5, 6, 0, 1, 2, 3]])


def test_new_weights_are_noticed() -> None:
    front_end = FrontEnd([4], in_channels=3, num_classes=5)
    cache = MapCache(front_end)
    x = torch.rand(2, 3, 8, 8)
    before = cache(x)
    front_end.load_state_dict({name: w / 2 for name, w in front_end.state_dict().items()})
    after = cache(x)
    torch.testing.assert_close(after, front_end(x).detach())
    assert not torch.equal(after, before)
    assert len(cache.maps) == 2


def test_maps_from_a_validation_can_be_trained_on() -> None:
    cache = MapCache(FrontEnd([4], in_channels=3, num_classes=5))
    x = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        cache(x)
    layer = nn.Conv2d(5, 5, 1)
    layer(cache(x)).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("stride", [1, 4])
def test_a_network_with_a_cache_has_the_same_outputs_and_gradients(stride: int) -> None:
    options: dict[str, Any] = {
        "in_channels": 3,
        "image_size": (17, 22),
        "num_classes": 5,
        "dense": True,
    }
    make = lambda **shapes: FrontEnd([4, 6], stride, **shapes)  # noqa: E731
    net = ContextNet(None, (1, 2), (1, 1), front_end=make, **options).double()
    net.front_end.requires_grad_(False)
    x = torch.rand(3, 3, 17, 22, dtype=torch.float64)
    results = []
    for cache in (None, MapCache(net.front_end)):
        net.cache = cache
        net.zero_grad()
        logits = net(x)
        logits.square().mean().backward()
        results.append([logits, *(p.grad for p in net.context.parameters())])
    torch.testing.assert_close(*results, atol=1e-12, rtol=1e-9)
    assert (
        net.state_dict().keys()
        == ContextNet(None, (1, 2), (1, 1), front_end=make, **options).state_dict().keys()
    )
