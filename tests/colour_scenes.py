"""Small colour images with a class for every pixel, in memory."""

import torch
from omegaconf import DictConfig

from context_agg.data.images import ImageData
from context_agg.data.spec import VOID

CLASSES = ("sky", "road", "car", "tree")


def colour_scenes(
    batch_size: int = 2, seed: int = 0, height: int = 21, width: int = 16
) -> ImageData:
    """Six training, two validation and two test images: noise, a column of void on the left."""
    generator = torch.Generator().manual_seed(5)

    def some(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = (count, 3, height, width)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        labels = torch.randint(0, 4, (count, height, width), generator=generator).byte()
        labels[:, :, 0] = VOID
        return images, labels

    return ImageData(
        some(6),
        some(2),
        some(2),
        name="colour scenes",
        classes=CLASSES,
        dense=True,
        batch_size=batch_size,
        held_out="validation",
        seed=seed,
    )


def with_colour_scenes(cfg: DictConfig) -> DictConfig:
    """The configuration with these data."""
    batch_size = min(cfg.data.batch_size, 2)
    target = "tests.colour_scenes.colour_scenes"
    cfg.data = {"_target_": target, "batch_size": batch_size, "seed": cfg.seed}
    return cfg
