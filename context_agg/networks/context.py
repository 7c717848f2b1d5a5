"""The context module of Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions".

ICLR 2016, arXiv 1511.07122. Equations and tables named here are that paper's.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from context_agg.ops import ConvOp, get_conv_op, is_native
from context_agg.ops.checks import check_choice, check_number, check_whole, check_wholes, is_whole

BASIC_WIDTHS = (1, 1, 1, 1, 1, 1, 1)
LARGE_WIDTHS = (2, 2, 4, 8, 16, 32, 32)
DILATIONS = (1, 1, 2, 4, 8, 16, 1)

INITS = ("identity", "normal", "kaiming", "xavier")
PADDINGS = ("same", "once", "valid")


def receptive_field(dilations: Sequence[int], kernel_size: int = 3) -> int:
    """Side of the square of input pixels that one output of stacked convolutions sees."""
    return 1 + (kernel_size - 1) * sum(dilations)


class DilatedConv2d(nn.Conv2d):
    """An nn.Conv2d of stride 1 that keeps height and width, with a choice of backward pass.

    Args:
        in_channels: C, input maps.
        out_channels: K, output maps.
        kernel_size: side of the square kernel, odd.
        dilation: distance between the kernel's taps, in pixels.
        bias: whether the layer has a bias.
        relu: whether a ReLU (the paper's "truncation") follows.
        backprop: a name in `ops.CONV_OPS`, or an operator of that kind.

    Shape: (N, C, H, W) -> (N, K, H, W).

    Raises:
        ValueError: for an even kernel, a dilation below 1, or an unknown `backprop`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        dilation: int = 1,
        *,
        bias: bool = True,
        relu: bool = False,
        backprop: str | ConvOp = "manual",
    ) -> None:
        if not is_whole(kernel_size) or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size!r} must be odd and positive (1, 3, 5, ...)")
        check_whole("dilation", dilation)
        get_conv_op(backprop)  # raises for an unknown name
        margin = dilation * (kernel_size // 2)
        super().__init__(
            in_channels, out_channels, kernel_size, padding=margin, dilation=dilation, bias=bias
        )
        self.margin = margin
        self.relu = relu
        self.backprop = backprop

    def forward(self, x: Tensor) -> Tensor:
        op = get_conv_op(self.backprop)
        return op(x, self.weight, self.bias, self.dilation[0], self.relu)

    def extra_repr(self) -> str:
        conv = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{conv}, relu={self.relu}, backprop={self.backprop!r}"


def identity_init_(conv: nn.Conv2d, channels: int, noise_std: float = 0.0) -> None:
    """Makes a layer pass its input on, in `channels` blocks of maps (eq. 5; eq. 4 at equal widths).

    With the maps cut into C contiguous blocks, an output map is the sum of the input maps of its
    block, times C / c_out. So a layer of c maps carries c / C copies of a C-map input, each
    C / c times its size, and the last layer adds them up. The bias is set to zero.

    Args:
        conv: layer to initialise, in place.
        channels: C; divides the layer's input and output maps.
        noise_std: standard deviation of the noise off the identity taps, in units of C / c_out,
            the weight on them. It makes the maps of a block differ; otherwise they would always
            receive equal gradients.

    Raises:
        ValueError: if `channels` does not divide the layer's maps; for groups, a kernel without a
            middle, or a negative `noise_std`.
    """
    check_whole("channels", channels)
    check_number("noise_std", noise_std, 0)
    if conv.groups > 1 or any(side % 2 == 0 for side in conv.kernel_size):
        sides = "x".join(map(str, conv.kernel_size))
        raise ValueError(
            f"a layer with a kernel of {sides} and groups={conv.groups} cannot pass its input on; "
            "it must have odd sides and groups=1"
        )
    in_channels, out_channels = conv.in_channels, conv.out_channels
    for name, maps in (("in_channels", in_channels), ("out_channels", out_channels)):
        if maps % channels:
            raise ValueError(f"channels={channels} does not divide {name}={maps}")
    weight = conv.weight
    in_block = torch.arange(in_channels, device=weight.device) * channels // in_channels
    out_block = torch.arange(out_channels, device=weight.device) * channels // out_channels
    same_block = out_block[:, None] == in_block  # (c_out, c_in)
    scale = channels / out_channels
    row, column = (side // 2 for side in conv.kernel_size)
    with torch.no_grad():
        weight.normal_(0, noise_std * scale)
        weight[:, :, row, column][same_block] = scale
        if conv.bias is not None:
            conv.bias.zero_()


class ContextModule(nn.Module):
    """Widens the view of every pixel without losing resolution (Table 1).

    One 3x3 layer with ReLU per dilation, then a linear 1x1 layer back to C maps.

    Args:
        channels: C, input and output maps.
        dilations: dilation of each 3x3 layer, in pixels.
        widths: output maps of each 3x3 layer, in multiples of C.
        init: "identity" (eq. 4 and 5), "normal", "kaiming" or "xavier"; biases start at zero.
        init_std: for "normal", the standard deviation of the weights (None: 0.1); for "identity",
            `noise_std` of `identity_init_` (None: 0 at equal widths, where every map has its own
            block; else 0.01, as in the released code).
        padding: "same" (zeros around every layer, as in the paper's appendix), "once" (zeros
            around the input only, for the whole receptive field, as in the paper's VOC network) or
            "valid" (none: the output is smaller than the input by the receptive field less one).
        recompute: how many layers in a row keep no maps for the backward pass but those that enter
            the first of them; the others are computed again there. The gradients are the same to
            the bit. None: all maps are kept. 1 saves nothing, as a layer keeps what enters it.
        backprop: a name in `ops.CONV_OPS`, or an operator of that kind.

    Shape: (N, C, H, W) -> (N, C, H, W); with padding "valid" (N, C, H - RF + 1, W - RF + 1).

    Raises:
        ValueError: for a value or a combination of values that is not valid.
    """

    def __init__(
        self,
        channels: int,
        dilations: Sequence[int] = DILATIONS,
        widths: Sequence[int] = BASIC_WIDTHS,
        *,
        init: str = "identity",
        init_std: float | None = None,
        padding: str = "same",
        recompute: int | None = None,
        backprop: str | ConvOp = "manual",
    ) -> None:
        super().__init__()
        _check(channels, dilations, widths, init, init_std, padding)
        if recompute is not None:
            check_whole("recompute", recompute)
        maps = [channels, *(width * channels for width in widths)]
        layers = [
            DilatedConv2d(c_in, c_out, 3, dilation, relu=True, backprop=backprop)
            for (c_in, c_out), dilation in zip(pairwise(maps), dilations, strict=True)
        ]
        layers.append(DilatedConv2d(maps[-1], channels, 1, backprop=backprop))
        self.layers = nn.ModuleList(layers)
        self.channels = channels
        self.padding = padding
        self.recompute = recompute
        self.receptive_field = receptive_field(dilations)
        self._initialise(init, init_std)

    @classmethod
    def basic(cls, channels: int, **options: Any) -> Self:
        """Table 1, Basic: C maps throughout; about 64 C^2 weights."""
        return cls(channels, DILATIONS, BASIC_WIDTHS, **options)

    @classmethod
    def large(cls, channels: int, **options: Any) -> Self:
        """Table 1, Large: 2C 2C 4C 8C 16C 32C 32C and C maps."""
        return cls(channels, DILATIONS, LARGE_WIDTHS, **options)

    @property
    def convolutions(self) -> list[DilatedConv2d]:
        """The layers, in order; the last is the linear 1x1."""
        return cast(list[DilatedConv2d], list(self.layers))

    def output_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output for an input of size `image_size`, in pixels.

        Raises:
            ValueError: if the image is too small for padding "valid".
        """
        height, width = image_size
        if self.padding != "valid":
            return height, width
        if min(height, width) < self.receptive_field:
            raise ValueError(
                f"the image is {height}x{width}; padding='valid' needs at least "
                f"{self.receptive_field}x{self.receptive_field}; use 'same' or 'once'"
            )
        return height - self.receptive_field + 1, width - self.receptive_field + 1

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError(f"x has shape {tuple(x.shape)}; it must have 4 axes, (N, C, H, W)")
        self.output_size((x.shape[-2], x.shape[-1]))  # raises for an image that is too small
        if self.padding == "once":
            margin = self.receptive_field // 2
            x = F.pad(x, (margin, margin, margin, margin))
        native = is_native(self.convolutions[0].backprop, x.device, x.dtype, self.channels)
        nchw = native and x.is_contiguous()
        if nchw:  # our kernels take and make NHWC; convert once here and once at the end
            x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        layers = self.convolutions
        if self.recompute is None or not torch.is_grad_enabled():
            x = self._through(layers, x)
        else:
            for first in range(0, len(layers), self.recompute):
                some = layers[first : first + self.recompute]
                x = checkpoint(self._through, some, x, use_reentrant=False)
        return x.contiguous() if nchw else x

    def _through(self, layers: Sequence[DilatedConv2d], x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x)
            if self.padding != "same":
                x = crop(x, layer.margin)  # cuts off outputs that saw the layer's padding
        return x

    def _initialise(self, init: str, init_std: float | None) -> None:
        equal_widths = all(conv.out_channels == self.channels for conv in self.convolutions)
        for conv in self.convolutions:
            if init == "identity":
                default = 0.0 if equal_widths else 0.01
                identity_init_(conv, self.channels, default if init_std is None else init_std)
                continue
            if init == "normal":
                nn.init.normal_(conv.weight, std=0.1 if init_std is None else init_std)
            elif init == "kaiming":
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu" if conv.relu else "linear")
            else:
                nn.init.xavier_normal_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)


def crop(x: Tensor, margin: int) -> Tensor:
    """Cuts off so many pixels on each side of maps (..., H, W)."""
    return x[..., margin : x.shape[-2] - margin, margin : x.shape[-1] - margin]


def _check(
    channels: int,
    dilations: Sequence[int],
    widths: Sequence[int],
    init: str,
    init_std: float | None,
    padding: str,
) -> None:
    check_whole("channels", channels)
    check_wholes("dilations", dilations)
    check_wholes("widths", widths)
    if len(dilations) != len(widths):
        raise ValueError(
            f"{len(dilations)} dilations {list(dilations)} but {len(widths)} widths "
            f"{list(widths)}; give one of each per 3x3 layer"
        )
    check_choice("init", init, INITS)
    check_choice("padding", padding, PADDINGS)
    if init_std is not None:
        if init in ("kaiming", "xavier"):
            raise ValueError(f"init_std={init_std} has no effect with init={init!r}; leave it out")
        check_number("init_std", init_std, 0)
