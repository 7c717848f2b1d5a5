"""What a trained network says of image files: a class for each, or for each of their pixels."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from context_agg.data.image_files import read_image, read_scene
from context_agg.data.pixels import network_input
from context_agg.data.spec import DataSpec


def classify(
    network: nn.Module, spec: DataSpec, files: Sequence[Path]
) -> list[tuple[str, dict[str, float]]]:
    """For every file, describes what was done to it and gives the probability of each class.

    Raises:
        ValueError: if the network does not classify grey images; if files are missing, are not
            images, or are blank, naming them all.
    """
    if spec.dense or spec.in_channels != 1:
        raise ValueError(f"the run was trained on {spec.name}, not to classify grey images")
    images = _read_all(files, lambda file: read_image(file, spec))
    probabilities = _logits(network, torch.stack([image for image, _ in images])).softmax(1)
    return [
        (description, dict(zip(spec.classes, row.tolist(), strict=True)))
        for (_, description), row in zip(images, probabilities, strict=True)
    ]


def label_pixels(
    network: nn.Module, spec: DataSpec, files: Sequence[Path]
) -> list[tuple[str, Tensor, Tensor]]:
    """For every file, what was done to it, the uint8 image (C, H, W) and its labels (H, W)."""
    if spec.in_channels not in (1, 3):
        raise ValueError(f"the run takes {spec.in_channels} channels; image files have 1 or 3")
    return [
        (description, image, _logits(network, image[None])[0].argmax(0).to(torch.uint8))
        for image, description in _read_all(files, lambda file: read_scene(file, spec))
    ]


def _read_all(
    files: Sequence[Path], read: Callable[[Path], tuple[Tensor, str]]
) -> list[tuple[Tensor, str]]:
    images, refused = [], []
    for file in files:
        try:
            images.append(read(file))
        except (OSError, ValueError) as error:
            refused.append(str(error))
    if refused:
        raise ValueError("\n".join(refused))
    return images


@torch.inference_mode()
def _logits(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(network_input(images, next(network.parameters()).dtype))
    return logits
