"""A small network of dilated convolutions."""

import torch
from torch import Tensor, nn

from context_agg.networks.context import DilatedConv2d


class Tower(nn.Module):
    """Two layers and a sum, small enough to differentiate by hand in numpy."""

    def __init__(self, backprop: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = DilatedConv2d(1, 1, 3, 2, relu=False, backprop=backprop)
        self.second = DilatedConv2d(1, 1, 3, 3, relu=False, backprop=backprop)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x)).flatten(1)
        return y
