"""The paper's front end: VGG-16 made convolutional, its last two poolings turned into dilations.

Section 4 of the paper; the names of the layers are those of the authors' files.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from context_agg.data.pixels import reflected
from context_agg.networks.context import DilatedConv2d, crop
from context_agg.ops.checks import check_choice, check_number, check_wholes

WIDTHS = (64, 128, 256, 512, 512, 4096)
DEPTHS = (2, 2, 3, 3, 3)  # convolutions of each block
POOLINGS = 3  # of VGG's five: those after the first blocks
STRIDE = 8  # pixels between two outputs
MARGIN = 186  # pixels that the unpadded layers take away on each side
WEIGHTS = ("imagenet", "random")
FINAL_STD = 0.001  # standard deviation of the last layer's initial weights


class Crop(nn.Module):
    """Cuts off what a layer that keeps height and width has computed from its padding."""

    def __init__(self, margin: int) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, x: Tensor) -> Tensor:
        return crop(x, self.margin)

    def extra_repr(self) -> str:
        return str(self.margin)


class VGGFrontEnd(nn.Module):
    """VGG-16 without its poolings 4 and 5, with dilations 2 and 4 behind them instead.

    No layer is padded. Instead the image is reflected beyond its border by `MARGIN` pixels, and at
    the bottom and on the right by up to 7 more, for a whole number of outputs: one for each block
    of 8x8 pixels. The dilated 3x3 layers convolve with `backprop`, and what saw their padding is
    cut off. fc6 is PyTorch's: with 7x7 taps that are 4 pixels apart, computing its border too would
    multiply its work by 1.9 (for 900 pixels) to 6.3 (for 500).

    The weights are random until `load_imagenet` is called.

    Args:
        widths: maps of each of the five blocks, and one number for fc6 and fc7.
        weights: what a run starts from: "imagenet" (those of torchvision's VGG-16) or "random".
        mean: of the three channels, subtracted from the image's 0..1; of ImageNet by default.
        std: what they are divided by then.
        upsampling: a name in `UPSAMPLINGS`, how logits are enlarged to the image.
        dropout: share of the maps behind fc6 and fc7 that is dropped in training.
        in_channels: channels of the image, must be 3.
        num_classes: K.
        backprop: a name in `ops.CONV_OPS`, for the dilated 3x3 layers.

    Shape: (N, 3, H, W) in 0..1 -> (N, K, ceil(H / 8), ceil(W / 8)).

    Raises:
        ValueError: for a value that is not valid, or images that are not coloured.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        weights: str = "random",
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
        upsampling: str = "bilinear",
        dropout: float = 0.5,
        *,
        in_channels: int,
        num_classes: int,
        backprop: str = "manual",
    ) -> None:
        super().__init__()
        _check(widths, weights, mean, std, dropout, in_channels)
        check_choice("upsampling", upsampling, tuple(UPSAMPLINGS))
        self.weights = weights
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.upsampling = upsampling
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        maps = in_channels
        for block, (width, depth) in enumerate(zip(widths[:-1], DEPTHS, strict=True), 1):
            dilated = block > POOLINGS + 1
            for number in range(1, depth + 1):
                name = f"{block}_{number}"
                if dilated:
                    conv = DilatedConv2d(maps, width, 3, 2, relu=True, backprop=backprop)
                    layers |= {f"conv{name}": conv, f"crop{name}": Crop(conv.margin)}
                else:
                    layers |= {
                        f"conv{name}": nn.Conv2d(maps, width, 3),
                        f"relu{name}": nn.ReLU(inplace=True),
                    }
                maps = width
            if block <= POOLINGS:
                layers[f"pool{block}"] = nn.MaxPool2d(2)
        for number, kernel_size, dilation in ((6, 7, 4), (7, 1, 1)):
            layers |= {
                f"fc{number}": nn.Conv2d(maps, widths[-1], kernel_size, dilation=dilation),
                f"relu{number}": nn.ReLU(inplace=True),
                f"drop{number}": nn.Dropout(dropout),
            }
            maps = widths[-1]
        layers["final"] = nn.Conv2d(maps, num_classes, 1)
        self.layers = nn.Sequential(layers)
        self._initialise()

    @property
    def convolutions(self) -> dict[str, nn.Conv2d]:
        """The layers with weights by name, in order."""
        layers = self.layers.named_children()
        return {name: layer for name, layer in layers if isinstance(layer, nn.Conv2d)}

    def forward(self, x: Tensor) -> Tensor:
        return self.class_maps(self.normalised(with_margin(x)))

    def normalised(self, x: Tensor) -> Tensor:
        """Images in 0..1 as the first layer expects them."""
        mean, std = (x.new_tensor(value)[:, None, None] for value in (self.mean, self.std))
        return (x - mean) / std

    def class_maps(self, x: Tensor) -> Tensor:
        """The class maps of a normalised image that has its margin already.

        Shape: (N, 3, H, W) -> (N, K, (H - 372) / 8, (W - 372) / 8).

        Raises:
            ValueError: for a size that does not give whole numbers, 1 or more.
        """
        height, width = x.shape[2:]
        for side in (height, width):
            if side < 2 * MARGIN + STRIDE or (side - 2 * MARGIN) % STRIDE:
                raise ValueError(
                    f"the image with its margin is {height}x{width}; each side must be "
                    f"{2 * MARGIN} and a multiple of {STRIDE}, such as 380 or 628"
                )
        maps: Tensor = self.layers(x)
        return maps

    def enlarge(self, logits: Tensor, x: Tensor) -> Tensor:
        """Enlarges logits (N, K, h, w) at the places of the class maps to the image x."""
        enlarged = UPSAMPLINGS[self.upsampling](logits)
        for axis in (2, 3):  # a slice would tie an exported program to the sides it is traced with
            enlarged = enlarged.index_select(axis, torch.arange(x.shape[axis], device=x.device))
        return enlarged

    def load_imagenet(self, file: Path) -> None:
        """Takes all weights but those of the last layer from torchvision's VGG-16.

        fc6 and fc7 are its classifier: their matrices, as 7x7 and 1x1 kernels.

        Raises:
            OSError: if the file cannot be read.
            ValueError: if it does not hold the weights of a VGG-16 of these widths.
        """
        try:
            state = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
        except Exception as error:  # whatever a file can contain
            raise ValueError(f"cannot read {file}: {str(error).splitlines()[0]}") from error
        ours = [conv for name, conv in self.convolutions.items() if name != "final"]
        for conv, name in zip(ours, torchvision_names(), strict=True):
            for part in ("weight", "bias"):
                given, parameter = state.get(f"{name}.{part}"), getattr(conv, part)
                if given is None or given.numel() != parameter.numel():
                    shape = "absent" if given is None else f"of shape {tuple(given.shape)}"
                    raise ValueError(
                        f"{file}: {name}.{part} is {shape}, but the layer has "
                        f"{tuple(parameter.shape)}; use front_end.weights=random with other widths"
                    )
                with torch.no_grad():
                    parameter.copy_(given.reshape(parameter.shape))

    def _initialise(self) -> None:
        for name, conv in self.convolutions.items():
            if name == "final":
                nn.init.normal_(conv.weight, std=FINAL_STD)
            else:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)


def outputs(side: int) -> int:
    """How many outputs there are along a side of so many pixels: the last may see fewer than 8."""
    return -(-side // STRIDE)


def with_margin(x: Tensor) -> Tensor:
    """Reflects an image (N, C, H, W) about its border pixels, for `VGGFrontEnd.class_maps`.

    The border pixels themselves are not repeated; an image that is smaller than the margin is
    reflected again and again.
    """
    rows, columns = (slice(0, outputs(side)) for side in x.shape[2:])
    return seen_by(rows, columns, x)


def seen_by(rows: slice, columns: slice, x: Tensor) -> Tensor:
    """The part of `with_margin(x)` that these rows and columns of the class maps see."""
    for axis, entries in ((2, rows), (3, columns)):
        first, stop = STRIDE * entries.start - MARGIN, STRIDE * entries.stop + MARGIN
        places = torch.arange(first, stop, device=x.device)
        x = x.index_select(axis, reflected(places, x.shape[axis]))
    return x


def _bilinear(logits: Tensor) -> Tensor:
    """Between the centres of the 8x8 blocks; constant beyond the outermost."""
    return F.interpolate(logits, scale_factor=STRIDE, mode="bilinear", align_corners=False)


def _deconvolution(logits: Tensor) -> Tensor:
    """As `_bilinear`, but the logits fall towards 0 beyond the outermost centres."""
    classes = logits.shape[1]
    kernel = bilinear_kernel().to(logits).expand(classes, 1, -1, -1)
    return F.conv_transpose2d(logits, kernel, stride=STRIDE, padding=STRIDE // 2, groups=classes)


def _probabilities(logits: Tensor) -> Tensor:
    """Logarithms of probabilities, enlarged between the first pixels of the 8x8 blocks."""
    height, width = logits.shape[2:]
    repeated = F.pad(logits.softmax(1), (0, 1, 0, 1), mode="replicate")
    sides = (STRIDE * height + 1, STRIDE * width + 1)
    enlarged = F.interpolate(repeated, sides, mode="bilinear", align_corners=True)
    return enlarged.clamp(min=torch.finfo(enlarged.dtype).tiny).log()[..., :-1, :-1]


UPSAMPLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "bilinear": _bilinear,
    "deconvolution": _deconvolution,  # of the released net for Cityscapes
    "probabilities": _probabilities,  # of those for VOC, CamVid and KITTI
}


def bilinear_kernel() -> Tensor:
    """The 16x16 weights by which a transposed convolution of stride 8 interpolates bilinearly."""
    tap = (torch.arange(STRIDE, dtype=torch.float64) + 0.5) / STRIDE
    line = torch.cat([tap, tap.flip(0)])
    return line[:, None] * line


def torchvision_names() -> list[str]:
    """What torchvision's VGG-16 calls conv1_1 to conv5_3, fc6 and fc7."""
    names, layer = [], 0
    for depth in DEPTHS:
        names += [f"features.{layer + 2 * number}" for number in range(depth)]
        layer += 2 * depth + 1  # a ReLU behind each, a pooling at the end
    return [*names, "classifier.0", "classifier.3"]


def imagenet_file() -> Path:
    """Torchvision's file of VGG-16's weights; fetches it if it is not there.

    Raises:
        FileNotFoundError: if it cannot be fetched.
        ValueError: if it is damaged.
    """
    from torchvision.models import VGG16_Weights  # takes seconds

    url: str = VGG16_Weights.IMAGENET1K_V1.url
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    digits = file.stem.rpartition("-")[2]  # its name ends in those of its checksum
    if not file.is_file():
        print(f"{file} is missing: downloading 528 MB")
        created = [folder for folder in file.parents if not folder.exists()]
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), digits, progress=False)
        except (OSError, RuntimeError) as error:
            for folder in created:
                with suppress(OSError):
                    folder.rmdir()
            raise FileNotFoundError(
                f"front_end.weights=imagenet: there is no {file}, and it cannot be downloaded "
                f"({error}). Put torchvision's file of that name there, or name another folder "
                "with the environment variable TORCH_HOME; or start from random weights with "
                "front_end.weights=random"
            ) from error
    with file.open("rb") as stream:
        if not hashlib.file_digest(stream, "sha256").hexdigest().startswith(digits):
            raise ValueError(
                f"{file} is damaged: it does not have its checksum; delete it, and run again to "
                "download it"
            )
    return file


def _check(
    widths: Sequence[int],
    weights: str,
    mean: Sequence[float],
    std: Sequence[float],
    dropout: float,
    in_channels: int,
) -> None:
    check_wholes("widths", widths)
    if len(widths) != len(WIDTHS):
        raise ValueError(
            f"widths={list(widths)} must have {len(WIDTHS)} numbers: for the five blocks, and one "
            "for fc6 and fc7"
        )
    check_choice("weights", weights, WEIGHTS)
    if weights == "imagenet" and tuple(widths) != WIDTHS:
        raise ValueError(
            f"widths={list(widths)}: the ImageNet weights are for {list(WIDTHS)}; use "
            "front_end.weights=random"
        )
    for name, values, least in (("mean", mean, -1e3), ("std", std, 1e-6)):
        if len(values) != 3:
            raise ValueError(f"{name}={list(values)} must have a number for each channel, 3")
        for value in values:
            check_number(name, value, least)
    check_number("dropout", dropout, 0, 1)
    if in_channels != 3:
        raise ValueError(
            f"VGG-16 takes colour images with 3 channels, but these have {in_channels}; take "
            "front_end=small"
        )
