"""Image files of all kinds come to look like MNIST."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from context_agg.data.image_files import read_image
from context_agg.data.spec import DataSpec

SPEC = DataSpec("MNIST", 1, (28, 28), tuple("0123456789"), margin=4)


def saved(tmp_path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    file = tmp_path / "image.png"
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file)
    return file


def seven() -> np.ndarray:
    """A 7 of 10x20 pixels, light on dark."""
    pixels = np.zeros((20, 10), np.uint8)
    pixels[:3], pixels[:, 6:9] = 255, 255
    return pixels


def test_an_image_of_the_right_kind_is_taken_as_it_is(tmp_path: Path) -> None:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[3:20, 5:9] = 77  # faint, and off centre
    image, description = read_image(saved(tmp_path, pixels), SPEC)
    assert torch.equal(image, torch.from_numpy(pixels)[None])
    assert description == "28x28 grey, light on dark, taken as it is"


def test_dark_on_light_is_inverted_cut_and_centred_by_mass(tmp_path: Path) -> None:
    """By hand: 20 rows fill 28 - 2 * 4; the columns' centre of mass moves to column 14."""
    paper = np.full((90, 60), 255, np.uint8)
    paper[50:70, 7:17] -= seven()
    image, description = read_image(saved(tmp_path, paper), SPEC)
    assert description == (
        "60x90 grey, dark on light, inverted, cut to 10x20 at (7, 50), scaled to 10x20, "
        "centred in 28x28"
    )
    expected = np.zeros((28, 28), np.uint8)
    ink = seven().astype(float)
    row = 14 - (ink.sum(1) @ (np.arange(20) + 0.5)) / ink.sum()
    column = 14 - (ink.sum(0) @ (np.arange(10) + 0.5)) / ink.sum()
    expected[round(row) : round(row) + 20, round(column) : round(column) + 10] = seven()
    np.testing.assert_array_equal(image[0].numpy(), expected)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
@pytest.mark.parametrize("invert", [False, True])
def test_colour_size_and_polarity_make_no_difference(
    mode: str, invert: bool, tmp_path: Path
) -> None:
    plain = np.pad(seven(), 20)
    expected, _ = read_image(saved(tmp_path, plain), SPEC)
    large = np.kron(plain, np.ones((7, 7), np.uint8))
    pixels = 255 - large if invert else large
    if mode == "I;16":
        file = saved(tmp_path, pixels.astype(np.uint16) * 16)  # 12 bits in 16
    else:
        file = saved(tmp_path, pixels, mode)
    image, description = read_image(file, SPEC)
    assert ("inverted" in description) == invert
    assert image.dtype == torch.uint8
    torch.testing.assert_close(image, expected, atol=1, rtol=0)


def test_transparent_paper_counts_as_white(tmp_path: Path) -> None:
    pixels = np.zeros((60, 40, 4), np.uint8)  # black, and transparent
    pixels[20:40, 10:20, 3] = seven()
    image, description = read_image(saved(tmp_path, pixels), SPEC)
    assert "colour with transparency, dark on light, inverted" in description
    expected, _ = read_image(saved(tmp_path, np.pad(seven(), 20)), SPEC)
    assert torch.equal(image, expected)


def test_a_photograph_of_grey_paper_with_noise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ink = np.kron(np.pad(seven(), 20), np.ones((9, 9))) / 255
    photo = (180 - 130 * ink + rng.normal(0, 4, ink.shape)).clip(0, 255).astype(np.uint8)
    image, _ = read_image(saved(tmp_path, photo, "RGB"), SPEC)
    expected, _ = read_image(saved(tmp_path, np.pad(seven(), 20)), SPEC)
    assert (image.float() - expected.float()).abs().mean() < 8
    assert torch.equal(image > 127, expected > 127)


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (3000, 40), (2, 2)])
def test_any_shape_fits(shape: tuple[int, int], tmp_path: Path) -> None:
    pixels = np.zeros((shape[0] + 4, shape[1] + 4), np.uint8)
    pixels[2:-2, 2:-2] = 255
    image, _ = read_image(saved(tmp_path, pixels), SPEC)
    assert image.shape == (1, 28, 28)
    assert image.max() == 255
    rows, columns = image[0].nonzero().unbind(1)
    assert max(rows.max() - rows.min(), columns.max() - columns.min()) == 19


def test_the_margin_is_that_of_the_data_set(tmp_path: Path) -> None:
    spec = DataSpec("FashionMNIST", 1, (28, 28), ("a", "b"))
    image, _ = read_image(saved(tmp_path, np.pad(np.full((30, 30), 255, np.uint8), 9)), spec)
    assert (image == 255).all()


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    file = tmp_path / "turned.png"
    upright = Image.fromarray(np.pad(seven(), 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers rotate it by 90 degrees clockwise
    upright.rotate(90, expand=True).save(file, exif=exif)
    image, _ = read_image(file, SPEC)
    expected, _ = read_image(saved(tmp_path, np.pad(seven(), 20)), SPEC)
    assert torch.equal(image, expected)
