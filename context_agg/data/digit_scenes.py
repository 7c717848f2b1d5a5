"""Scenes of several real digits with a label for every pixel: dense data without a download.

A scene depends on (seed, part, index) alone, where part is training, validation or test. It uses
the digits of that part only, so no digit of a test scene occurs in a training scene.
"""

import numpy as np
import torch
from torch import Tensor

from context_agg.data.batches import Images
from context_agg.data.digits import digit_sets
from context_agg.data.images import ImageData, check_loading
from context_agg.data.mnist import mnist_sets
from context_agg.data.spec import VOID
from context_agg.ops.checks import check_choice, check_whole

INK, PAPER = 128, 32  # a digit's pixels are at least INK, the background below PAPER; else void
PLACES = 50  # tried for each digit; a digit that overlaps another at all of them is left out
CLASSES = ("background", *"0123456789")
SOURCES = ("digits", "mnist")


def load_digit_scenes(
    *,
    source: str,
    root: str,
    size: int,
    digits: int,
    train_scenes: int,
    validation_scenes: int,
    test_scenes: int,
    scene_seed: int,
    batch_size: int,
    held_out: str,
    seed: int,
) -> ImageData:
    """Scenes of digits on a dark background; the classes are the background and the ten digits.

    Args:
        source: where the digits come from: "digits" (scikit-learn's) or "mnist".
        root: folder that holds MNIST/raw/, for source "mnist".
        size: height and width of a scene, in pixels.
        digits: number of digits in a scene; fewer if there is no room.
        train_scenes: number of training scenes.
        validation_scenes: number of validation scenes.
        test_scenes: number of test scenes.
        scene_seed: seed of the scenes.
        batch_size: scenes in a batch.
        held_out: "validation" or "test".
        seed: seed of the order of the training scenes.

    Raises:
        ValueError: for an unknown source, or a scene too small for a digit.
        OSError: if MNIST is not there.
    """
    check_loading(batch_size, held_out)
    check_choice("source", source, SOURCES)
    counts = {
        "size": size,
        "digits": digits,
        "train_scenes": train_scenes,
        "validation_scenes": validation_scenes,
        "test_scenes": test_scenes,
    }
    for name, value in counts.items():
        check_whole(name, value)
    check_whole("scene_seed", scene_seed, 0)
    sets = digit_sets() if source == "digits" else mnist_sets("MNIST", root)
    side = sets[0][0].shape[-1]
    if size < side:
        raise ValueError(f"size={size}: a scene must hold a digit, {side} pixels or more")
    train, validation, test = (
        make_scenes(images, count, size=size, digits=digits, seed=(scene_seed, part))
        for part, (images, count) in enumerate(
            zip(sets, (train_scenes, validation_scenes, test_scenes), strict=True)
        )
    )
    return ImageData(
        train,
        validation,
        test,
        name=f"scenes of {source}",
        classes=CLASSES,
        dense=True,
        ink=True,
        batch_size=batch_size,
        held_out=held_out,
        seed=seed,
    )


def make_scenes(
    images: Images, count: int, *, size: int, digits: int, seed: tuple[int, ...]
) -> Images:
    """Makes `count` scenes: uint8 images (count, 1, size, size), labels (count, size, size)."""
    scenes = [
        make_scene(images, size=size, digits=digits, seed=(*seed, index)) for index in range(count)
    ]
    pictures, labels = (torch.stack(parts) for parts in zip(*scenes, strict=True))
    return pictures, labels


def make_scene(images: Images, *, size: int, digits: int, seed: tuple[int, ...]) -> Images:
    """Makes one scene from `seed` alone: uint8 image (1, size, size) and labels (size, size)."""
    generator = np.random.default_rng(seed)
    picture, labels = torch.zeros(2, size, size, dtype=torch.uint8)
    for chosen in generator.integers(len(images[0]), size=digits).tolist():
        digit, class_ = _cut_out(images[0][chosen, 0]), int(images[1][chosen]) + 1
        height, width = digit.shape
        for top, left in generator.integers(
            0, (size - height + 1, size - width + 1), size=(PLACES, 2)
        ).tolist():
            window = slice(top, top + height), slice(left, left + width)
            if picture[window].any():
                continue
            picture[window] = digit
            labels[window] = torch.where(digit >= INK, class_, torch.where(digit >= PAPER, VOID, 0))
            break
    return picture[None], labels


def _cut_out(digit: Tensor) -> Tensor:
    rows, columns = ((digit > 0).any(dim).nonzero().flatten() for dim in (1, 0))
    return digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
