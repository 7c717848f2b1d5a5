"""What a trained network says of an image file: a class for it, or for each of its pixels."""

from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from context_agg.data.image_files import FORMS, MOST_PIXELS, read_image, read_scene
from context_agg.data.pixels import network_input
from context_agg.data.spec import DataSpec
from context_agg.networks.tiles import largest_inputs, logits_in_tiles

MOST_MEMORY = 6e9  # bytes, for labelling the pixels of one tile of an image
TILE = 512  # pixels; the margin of the basic module then adds 28 % to the work


def classify(network: nn.Module, spec: DataSpec, file: Path) -> tuple[str, dict[str, float]]:
    """Describes what was done to an image, and gives the probability of each class.

    Raises:
        OSError, ValueError: as `check_network` and `read_image`.
    """
    check_network(spec, dense=False)
    image, description = read_image(file, spec)
    probabilities = _logits(network, image)[0].softmax(0)
    return description, dict(zip(spec.classes, probabilities.tolist(), strict=True))


def label_pixels(
    network: nn.Module, spec: DataSpec, file: Path, tile: int = TILE, scale: float = 1
) -> tuple[str, Tensor, Tensor]:
    """Describes what was done to an image; gives it, uint8 (C, H, W), and its labels (H, W).

    The network sees the image scaled; each pixel then has the label of the nearest scaled one. The
    logits are computed tile by tile; `tile` is the most pixels of a tile's height and width.

    Raises:
        OSError, ValueError: if the network would need more than `MOST_MEMORY` for a tile, if the
            scaled image has more than `MOST_PIXELS`, or as `check_network`, `read_scene` and
            `logits_in_tiles`.
    """
    check_network(spec, dense=True)
    image, description = read_scene(file, spec)
    height, width = (max(1, round(scale * side)) for side in image.shape[1:])
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"{file}: scaled by {scale:g} it has {width}x{height} pixels, more than "
            f"{MOST_PIXELS // 10**6} million, the limit; take a smaller --scale"
        )
    shape = (spec.in_channels, height, width)
    try:
        memory, (_, *part) = _largest_need(network, shape, tile)
    except ValueError as error:  # too small for the network, or not to be cut
        raise ValueError(f"{file}: {error}") from error
    if memory > MOST_MEMORY:
        helps = False
        with suppress(ValueError):  # not to be cut
            helps = _largest_need(network, shape, 1)[0] <= MOST_MEMORY
        below = f"take a --tile below {min(tile, max(width, height))}"
        raise ValueError(
            f"{file}: labelling a part of {part[1]}x{part[0]} pixels with this network may take "
            f"{memory / 1e9:.1f} GB of memory, and the limit is {MOST_MEMORY / 1e9:g} GB; "
            + (below if helps else "no smaller --tile is enough: take a smaller --scale or network")
        )
    seen = image
    if scale != 1:
        seen = interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
        description += f", scaled to {width}x{height}"
    labels = torch.empty(height, width, dtype=torch.uint8)
    with torch.inference_mode():
        for rows, columns, logits in logits_in_tiles(network, seen, tile):
            labels[rows, columns] = logits.argmax(0)
    if scale != 1:
        labels = interpolate(labels[None, None], image.shape[1:], mode="nearest-exact")[0, 0]
    return description, image, labels


def size_notice(spec: DataSpec, image: Tensor, scale: float) -> str | None:
    """What to tell of an image, (C, H, W), whose size is far from that of the training images.

    It is told where the longer side, scaled, is more than twice or less than half as long.
    """
    longer, trained = max(image.shape[1:]), max(spec.image_size)
    if 1 / 2 <= scale * longer / trained <= 2:
        return None
    (height, width), (trained_height, trained_width) = image.shape[1:], spec.image_size
    return (
        f"the training images have {trained_width}x{trained_height} pixels, this one {width}x"
        f"{height}{f' and --scale {scale:g}' if scale != 1 else ''}; if what it shows has another "
        f"size than in training, try --scale {trained / longer:.2g}"
    )


def check_network(spec: DataSpec, *, dense: bool) -> None:
    """Refuses a network that image files do not suit.

    Raises:
        ValueError: if it does not classify grey or colour images, or their pixels if `dense`.
    """
    if spec.dense != dense or spec.in_channels not in FORMS:
        task = "label pixels of" if dense else "classify"
        raise ValueError(f"the run was trained on {spec.name}, not to {task} grey or colour images")


def memory_of(
    network: nn.Module, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> float:
    """Bytes that a forward pass on a batch of this shape takes on the CPU, at the most.

    It is 3.5 times the largest input and output of a part of the network, because a convolution
    copies both and what came before may be kept. Measured were 1.5 to 3.2 times, for basic and
    large modules of 3 to 100 classes.
    """
    largest = 0

    def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal largest
        largest = max(largest, output.nbytes + sum(x.nbytes for x in inputs))

    sizes_only = deepcopy(network).to("meta")  # computes nothing
    for part in sizes_only.modules():
        part.register_forward_hook(count)
    with torch.inference_mode():
        sizes_only(torch.empty(shape, dtype=dtype, device="meta"))
    return 3.5 * largest


def _largest_need(
    network: nn.Module, shape: tuple[int, int, int], tile: int
) -> tuple[float, tuple[int, int, int]]:
    """The most memory that a part of an image (C, H, W) takes, and the shape of that part.

    Raises:
        ValueError: as `largest_inputs`, and if the network refuses the part.
    """
    dtype = next(network.parameters()).dtype
    inputs = largest_inputs(network, shape, tile)
    return max((memory_of(module, (1, *part), dtype), part) for module, part in inputs)


@torch.inference_mode()
def _logits(network: nn.Module, image: Tensor) -> Tensor:
    logits: Tensor = network(network_input(image[None], next(network.parameters()).dtype))
    return logits
