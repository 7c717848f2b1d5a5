"""ContextNet: a front end, the context module, a head."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from context_agg.networks.context import ContextModule, DilatedConv2d
from context_agg.networks.front_ends import FrontEndMaker, enlarged, make_front_end
from context_agg.networks.heads import fully_connected
from context_agg.networks.map_cache import MapCache


class ContextNet(nn.Module):
    """Classifies an image, or each of its pixels, through a context module.

    The front end turns the image's channels into the C maps of the context module. By default it
    is a 3x3 layer with ReLU, or nothing if the image already has C channels; its output is not
    negative, so an identity-initialised module passes it on unchanged. For dense data it can be
    one that makes a map per class, as in the paper; the module then refines these class maps.

    The head is a fully connected network on the flattened maps. For dense data it is a 1x1 layer
    from the C maps to the classes, or nothing if there are C classes. Class maps that the front
    end has made smaller than the image are enlarged to it bilinearly.

    Args:
        channels: C, maps in and out of the context module; None: the number of classes.
        dilations: dilation of each 3x3 layer of the context module, in pixels.
        widths: output maps of each of these layers, in multiples of C.
        in_channels: channels of the image.
        image_size: height and width of the image, in pixels.
        num_classes: K.
        dense: whether every pixel has a class of its own.
        front_end: makes a front end, given in_channels and num_classes.
        hidden: sizes of the head's hidden layers, each with ReLU.
        backprop: a name in `ops.CONV_OPS`, for the front end and the context module.
        context: the other options of `ContextModule`.

    Shape: (N, in_channels, H, W) -> logits (N, K), or (N, K, H, W) for dense data.

    Raises:
        ValueError: for a value that is not valid.
    """

    def __init__(
        self,
        channels: int | None,
        dilations: Sequence[int],
        widths: Sequence[int],
        *,
        in_channels: int,
        image_size: tuple[int, int],
        num_classes: int,
        dense: bool = False,
        front_end: FrontEndMaker | None = None,
        hidden: Sequence[int] = (),
        backprop: str = "manual",
        **context: Any,
    ) -> None:
        super().__init__()
        if channels is None:
            channels = num_classes
        module = ContextModule(channels, dilations, widths, backprop=backprop, **context)
        self.front_end: nn.Module
        self.head: nn.Module
        if front_end is not None:
            if channels != num_classes:
                raise ValueError(
                    f"channels={channels}: behind a front end there is one map for each of the "
                    f"{num_classes} classes; set model.channels=null"
                )
            self.front_end = make_front_end(front_end, in_channels, image_size, num_classes, dense)
        elif in_channels == channels:
            self.front_end = nn.Identity()
        else:
            self.front_end = DilatedConv2d(in_channels, channels, 3, relu=True, backprop=backprop)
        self.context = module
        self.cache: MapCache | None = None  # of the front end's maps, while it is frozen
        if dense:
            _check_dense(hidden, module)
            self.head = (
                nn.Identity() if channels == num_classes else nn.Conv2d(channels, num_classes, 1)
            )
        else:
            height, width = module.output_size(image_size)
            self.head = fully_connected(channels * height * width, hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return enlarged(self.class_maps(x), x, self.front_end)

    def class_maps(self, x: Tensor) -> Tensor:
        """The logits (N, K, h, w) before they are enlarged to the image; (N, K) if not dense."""
        maps = self.cache(x) if self.cache is not None else self.front_end(x)
        logits: Tensor = self.head(self.context(maps))
        return logits


def _check_dense(hidden: Sequence[int], context: ContextModule) -> None:
    if hidden:
        raise ValueError(f"hidden={list(hidden)}: the head for dense data has no hidden layer")
    if context.padding == "valid":
        raise ValueError(
            "padding='valid' leaves pixels at the border without a class; use 'same' or 'once'"
        )
