"""Front ends: what finds the class maps that a context module makes better."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from context_agg.networks.context import DilatedConv2d


class FrontEnd(nn.Module):
    """A few 3x3 layers with ReLU and a linear 1x1 layer to a map per class.

    Args:
        widths: maps of each 3x3 layer.
        stride: of a max pooling after the first layer; the class maps are smaller by it.
        lift: is added to every class map. The probabilities stay the same, but a context module
            that begins as the identity cuts off what is negative, and learns nothing from it.
        in_channels: channels of the image.
        num_classes: K.
        backprop: a name in `ops.CONV_OPS`.

    Shape: (N, in_channels, H, W) -> (N, K, H // stride, W // stride).

    Raises:
        ValueError: for no layer, a width or a stride below 1, or an image smaller than that.
    """

    def __init__(
        self,
        widths: Sequence[int],
        stride: int = 1,
        lift: float = 0.0,
        *,
        in_channels: int,
        num_classes: int,
        backprop: str = "manual",
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"widths={list(widths)} must name one layer or more, of 1 map or more")
        if stride < 1:
            raise ValueError(f"stride={stride} must be 1 or more")
        layers: list[nn.Module] = [
            DilatedConv2d(c_in, c_out, 3, relu=True, backprop=backprop)
            for c_in, c_out in pairwise([in_channels, *widths])
        ]
        if stride > 1:
            layers.insert(1, nn.MaxPool2d(stride))
        self.layers = nn.Sequential(*layers)
        self.stride = stride
        self.lift = lift
        self.classifier = DilatedConv2d(widths[-1], num_classes, 1, backprop=backprop)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < self.stride:
            height, width = x.shape[2:]
            raise ValueError(f"the image is {height}x{width}, too small for stride={self.stride}")
        class_maps: Tensor = self.classifier(self.layers(x))
        return class_maps + self.lift
