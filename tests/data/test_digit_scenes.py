"""Scenes of digits: labels agree with images, and both depend on (seed, part, index) alone."""

from typing import Any

import pytest
import torch

from context_agg.data import digit_scenes
from context_agg.data.batches import Images
from context_agg.data.digit_scenes import INK, PAPER, load_digit_scenes, make_scenes
from context_agg.data.digits import digit_sets
from context_agg.data.spec import VOID
from tests.fake_mnist import write_mnist

OPTIONS: dict[str, Any] = {
    "source": "digits",
    "root": "data",
    "size": 50,
    "digits": 4,
    "train_scenes": 5,
    "validation_scenes": 3,
    "test_scenes": 2,
    "scene_seed": 0,
    "batch_size": 2,
    "held_out": "validation",
    "seed": 0,
}


def bricks(brightness: int) -> Images:
    """Ten "digits", one per class: bricks of 12x9 pixels at the same place."""
    images = torch.zeros(10, 1, 28, 28, dtype=torch.uint8)
    images[:, :, 8:20, 5:14] = brightness
    return images, torch.arange(10)


def test_labels_are_those_of_the_brightness() -> None:
    images, labels = make_scenes(digit_sets()[0], 6, size=64, digits=5, seed=(1, 2))
    assert (images.shape, labels.shape) == ((6, 1, 64, 64), (6, 64, 64))
    assert images.dtype == labels.dtype == torch.uint8
    brightness = images[:, 0]
    assert torch.equal(labels == 0, brightness < PAPER)
    assert torch.equal(labels == VOID, (brightness >= PAPER) & (brightness < INK))
    assert labels[brightness >= INK].max() <= 10


def test_digits_do_not_overlap_and_keep_their_class() -> None:
    images, labels = make_scenes(bricks(200), 20, size=64, digits=4, seed=(0,))
    areas = torch.stack([torch.bincount(scene.flatten().long(), minlength=11) for scene in labels])
    assert (areas[:, 1:] % (12 * 9) == 0).all()
    assert (areas[:, 1:].sum(1) == 4 * 12 * 9).all()
    assert (areas[:, 1:].sum(0) > 0).all()  # every class occurs
    assert torch.equal(images[:, 0] > 0, labels > 0)


def test_what_has_no_place_is_left_out() -> None:
    _, labels = make_scenes(bricks(200), 10, size=28, digits=50, seed=(0,))
    ink = (labels > 0).sum((1, 2)) / (12 * 9)
    assert ((ink >= 1) & (ink <= 6)).all()


def test_a_scene_depends_on_its_seed_and_number_alone() -> None:
    digits = digit_sets()[0]
    some = make_scenes(digits, 3, size=40, digits=3, seed=(0, 0))
    more = make_scenes(digits, 5, size=40, digits=3, seed=(0, 0))
    for a, b in zip(some, more, strict=True):
        assert torch.equal(a, b[:3])
    assert not torch.equal(more[0][0], more[0][1])
    others = make_scenes(digits, 3, size=40, digits=3, seed=(1, 0))
    assert not torch.equal(some[0], others[0])


def test_every_part_is_made_of_its_own_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digit_scenes, "digit_sets", lambda: tuple(map(bricks, (140, 180, 220))))
    data = load_digit_scenes(**OPTIONS)
    parts = (data.train, data.held_out, data.test)
    assert [part.images.max().item() for part in parts] == [140, 180, 220]
    assert [len(part) for part in parts] == [5, 3, 2]
    assert data.spec.shapes == {
        "in_channels": 1,
        "image_size": (50, 50),
        "num_classes": 11,
        "dense": True,
    }


def test_mnist_makes_scenes_too(tmp_path: Any) -> None:
    write_mnist(tmp_path, "MNIST")
    data = load_digit_scenes(**{**OPTIONS, "source": "mnist", "root": str(tmp_path)})
    assert data.spec.name == "scenes of mnist"
    assert data.train.images.any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"source": "letters"}, "source='letters'; choose one of digits, mnist"),
        ({"size": 27}, "size=27: a scene must hold a digit, 28 pixels or more"),
    ],
)
def test_impossible_scenes_are_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_digit_scenes(**{**OPTIONS, **option})
