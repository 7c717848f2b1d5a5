"""Random views: one geometry for image and labels, labels that are never interpolated."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from context_agg.data.spec import VOID
from context_agg.data.views import RandomView, together
from tests.fake_pairs import STEP, random_labels, tensors


def seen(view: RandomView, height: int, width: int, count: int = 40) -> list[Any]:
    """Views of a pair, each from a generator of its own."""
    pair = tensors(random_labels(height, width, 11))
    return [view(pair, np.random.default_rng((7, number))) for number in range(count)]


@pytest.mark.parametrize("crop", [None, [5, 8], [13, 17], [20, 9], [40, 50]])
def test_an_image_and_its_labels_are_mirrored_and_cropped_alike(crop: Any) -> None:
    """The red of a pixel tells its label; beyond the image is its reflection, and void."""
    places = set()
    for image, labels in seen(RandomView(mirror=True, crop=crop), 13, 17):
        assert image.shape == (3, *(crop or (13, 17)))
        assert labels.shape == image.shape[1:]
        assert type(image) is type(labels) is torch.Tensor
        void = labels == VOID
        assert torch.equal(image[0][~void], labels[~void] * STEP)
        inside = [(~void).any(axis).nonzero().flatten() for axis in (1, 0)]
        part = image[:, inside[0]][:, :, inside[1]].numpy()
        beyond = [
            (int(p[0]), n - 1 - int(p[-1])) for p, n in zip(inside, labels.shape, strict=True)
        ]
        assert np.array_equal(image, np.pad(part, [(0, 0), *beyond], "reflect"))
        assert (~void).sum() == min(labels.shape[0], 13) * min(labels.shape[1], 17)
        places.add(image[1].numpy().tobytes())
    expected = {None: 2, (5, 8): 2 * 9 * 10, (13, 17): 2, (20, 9): 2 * 8 * 9, (40, 50): 2 * 28 * 34}
    assert len(places) >= min(15, expected[crop and tuple(crop)])
    assert len(places) <= expected[crop and tuple(crop)]


def test_half_of_the_images_are_mirrored() -> None:
    image, _ = tensors(random_labels(13, 17, 11))
    views = seen(RandomView(mirror=True), 13, 17, 400)
    mirrored = sum(torch.equal(view, image.flip(2)) for view, _ in views)
    assert mirrored + sum(torch.equal(view, image) for view, _ in views) == 400
    assert 150 < mirrored < 250
    assert all(torch.equal(view, image) for view, _ in seen(RandomView(), 13, 17))


@pytest.mark.parametrize("zoom", [0.3, 1.0])
def test_scaled_labels_are_those_of_the_nearest_pixels(zoom: float) -> None:
    """The factor is recovered from the size; every centre then has a nearest original pixel."""
    labels = random_labels(30, 40, 11)
    view = RandomView(zoom=zoom, crop=[80, 80])  # larger than all, so nothing is cut off
    factors = []
    for _, found in seen(view, 30, 40):
        inside = found != VOID  # beyond the image nothing has a class
        found = found[inside.any(1)][:, inside.any(0)]
        height, width = found.shape
        rows, columns = (
            (np.arange(size) + 0.5) * whole / size for size, whole in ((height, 30), (width, 40))
        )
        expected = labels[rows.astype(int)][:, columns.astype(int)]
        clear = np.ix_(*(np.abs(at - at.round()) > 1e-4 for at in (rows, columns)))  # no tie
        assert np.array_equal(found.numpy()[clear], expected[clear])
        assert inside.sum() == height * width
        factors.append(width / 40)
    assert 1 / (1 + zoom) - 0.02 < min(factors) < 0.9
    assert 1.1 < max(factors) < 1 + zoom + 0.02


def test_a_scaled_image_lies_on_its_labels() -> None:
    """In blocks of 12 pixels, all but the edges keep their colour."""
    labels = np.kron(random_labels(9, 12, 11), np.ones((12, 12), np.uint8))
    pair = tensors(labels)
    for number in range(20):
        image, found = RandomView(zoom=0.5)(pair, np.random.default_rng(number))
        there = found != VOID
        same = (image[0][there].int() - found[there].int() * STEP).abs() <= 1
        assert same.double().mean() > 0.9


def test_without_a_crop_a_scaled_image_keeps_its_size() -> None:
    for image, labels in seen(RandomView(zoom=1.0), 13, 17):
        assert image.shape[1:] == labels.shape == (13, 17)


def test_a_crop_has_a_pixel_with_a_class_if_one_can_be_found() -> None:
    image, labels = tensors(random_labels(12, 40, 11))
    labels[:, 8:] = VOID
    view = RandomView(crop=[6, 6])
    for number in range(200):
        _, cut = view((image, labels), np.random.default_rng(number))
        assert (cut != VOID).any()


def test_a_view_depends_on_the_generator_alone() -> None:
    view = RandomView(mirror=True, zoom=0.5, crop=[9, 9])
    one = seen(view, 13, 17)
    torch.manual_seed(5)
    np.random.seed(5)
    state = torch.get_rng_state()
    two = seen(view, 13, 17)
    assert all(torch.equal(a, b) for a, b in zip(sum(one, ()), sum(two, ()), strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_images_of_different_sizes_are_padded_to_a_batch() -> None:
    pairs = [tensors(random_labels(*size, 5)) for size in ((6, 9), (8, 3))]
    images, target = together(pairs)
    assert images.shape == (2, 3, 8, 9)
    for (image, labels), batched, found in zip(pairs, images, target, strict=True):
        height, width = labels.shape
        assert torch.equal(batched[:, :height, :width], image)
        assert torch.equal(found[:height, :width], labels)
        assert (found != VOID).sum() == height * width


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mirror": 1}, "mirror=1 must be true or false"),
        ({"zoom": -1}, "zoom=-1 must be a finite number from 0 to 10"),
        ({"crop": [3]}, "crop=[3] must be a height and a width: [H,W]"),
        ({"crop": [0, 3]}, "crop=[0, 3] must be a list of whole numbers, 1 or more"),
        ({"crop": 3}, "crop=3 must be a list of whole numbers, 1 or more"),
    ],
)
def test_a_view_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        RandomView(**options)
