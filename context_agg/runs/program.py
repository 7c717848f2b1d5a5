"""A trained network as a program of PyTorch's own operations, which runs without this package."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from context_agg.data.spec import DataSpec
from context_agg.gradients.agreement import true_backward

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-12}
"""Of the largest output: how far the program's may be from the network's."""


def to_bytes(network: nn.Module, spec: DataSpec) -> bytes:
    """The contents of a .pt2 file; `torch.export.load` reads it.

    The batch can have any size. For dense data, so can the image, from the smallest on that
    `check_same` finds. The convolutions are PyTorch's, whatever the network was trained with.
    """
    axes = (0, 2, 3) if spec.dense else (0,)
    free = dict.fromkeys(axes, Dim.AUTO)  # named ones may not depend on a stride
    with true_backward(network):
        program = torch.export.export(network, (_images(network, spec),), dynamic_shapes=(free,))
    _forget_where(program)
    stream = BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


def check_same(file: Path, network: nn.Module, spec: DataSpec) -> int | None:
    """Reads a program back and compares it with the network on random images.

    It takes batches of 1 and 3 images, for dense data also of the smallest size and a larger one.

    Returns:
        For dense data, how many pixels each side of an image must have at least.

    Raises:
        ValueError: if an output differs by more than rounding.
    """
    program = torch.export.load(file).module()
    height, width = spec.image_size
    sizes, least = [(height, width)], None
    if spec.dense:
        least = _smallest_side(program, network, spec)
        sizes += [(least, least), (height + 5, width + 2)]
    for count, size in [(1, spec.image_size), *((3, size) for size in sizes)]:
        images = _images(network, spec, count, size)
        with torch.inference_mode():
            ours, theirs = network(images), program(images)
        difference = float((ours - theirs).abs().max() / ours.abs().max())
        if not difference <= TOLERANCE[images.dtype]:
            raise ValueError(
                f"the exported program is not the network: for {count} images of "
                f"{size[0]}x{size[1]} its outputs differ by {difference:.1e} of the largest one; "
                "nothing has been written"
            )
    return least


def _smallest_side(program: nn.Module, network: nn.Module, spec: DataSpec) -> int:
    """Tries which images a program takes: it may refuse small ones that the network takes.

    torch.export takes a size of 1 for a constant, so class maps that are smaller than the image
    need two entries along each side.
    """
    side = 1
    while side < max(spec.image_size):
        with suppress(AssertionError), torch.inference_mode():  # a guard raises it
            program(_images(network, spec, 2, (side, side)))
            break
        side += 1
    return side


def _images(
    network: nn.Module, spec: DataSpec, count: int = 2, size: tuple[int, int] | None = None
) -> Tensor:
    """Random images of the network's type; torch.export would take a batch of 1 for a constant."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, spec.in_channels, *(size or spec.image_size))
    return torch.rand(shape, dtype=next(network.parameters()).dtype, generator=generator)


def _forget_where(program: ExportedProgram) -> None:
    """Removes the paths of source files on this machine, which PyTorch keeps for its messages."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
