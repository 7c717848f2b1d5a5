"""The logits of tiles put together."""

import torch
from torch import Tensor, nn

from context_agg.networks.tiles import logits_in_tiles


@torch.no_grad()
def joined(network: nn.Module, image: Tensor, tile: int, classes: int = 4) -> Tensor:
    """The logits of a whole image, in float64; fails where tiles leave a gap or overlap."""
    logits = torch.full((classes, *image.shape[1:]), torch.nan, dtype=torch.float64)
    for rows, columns, part in logits_in_tiles(network, image, tile):
        assert max(part.shape[1:]) <= tile
        assert logits[:, rows, columns].isnan().all()
        logits[:, rows, columns] = part
    assert not logits.isnan().any()
    return logits
