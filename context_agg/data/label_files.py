"""Writes pixel labels as image files: the classes, and an overlay on the image."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_segmentation_masks

from context_agg.data.palette import palette


def write_labels(file: Path, image: Tensor, labels: Tensor, num_classes: int) -> list[Path]:
    """Writes FILE_labels.png and FILE_overlay.png; returns their paths.

    Shape: image (C, H, W), uint8, labels (H, W).
    """
    colours = palette(num_classes)
    picture = Image.fromarray(labels.numpy()).convert("P")
    picture.putpalette(colours.flatten().tolist())
    masks = labels == torch.arange(1, num_classes)[:, None, None]  # the background has no mask
    overlay = draw_segmentation_masks(
        image.expand(3, -1, -1), masks, alpha=0.6, colors=colours[1:num_classes].tolist()
    )
    written = [file.with_name(f"{file.name}_{kind}.png") for kind in ("labels", "overlay")]
    picture.save(written[0])
    Image.fromarray(overlay.movedim(0, -1).numpy()).save(written[1])
    return written
