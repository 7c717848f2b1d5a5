"""Image files of all kinds come to look like the images of a data set, MNIST above all."""

import subprocess
import sys
from pathlib import Path
from struct import pack
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image

from context_agg.data import image_files
from context_agg.data.image_files import image_size, read_colour, read_image, read_scene
from context_agg.data.spec import DataSpec

SPEC = DataSpec("MNIST", 1, (28, 28), tuple("0123456789"), margin=4, ink=True)
SCENES = DataSpec("scenes", 1, (28, 28), tuple("0123456789"), dense=True, ink=True)
GREY = DataSpec("spots", 1, (20, 30), ("dark", "bright"))
COLOUR = DataSpec("flowers", 3, (20, 30), ("rose", "tulip"))


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
    pixels[3:20, 5:9] = 214  # off centre, and as strong as the faintest image of digits
    image, description = read_image(saved(tmp_path, pixels), SPEC)
    assert torch.equal(image, torch.from_numpy(pixels)[None])
    assert description == "28x28 grey, light on dark, taken as it is"


@pytest.mark.parametrize(("paper", "ink"), [(0, 77), (0, 199), (90, 255), (30, 60)])
def test_an_image_of_the_right_size_is_stretched_like_any_other(
    paper: int, ink: int, tmp_path: Path
) -> None:
    pixels = np.full((28, 28), paper, np.uint8)
    pixels[3:23, 5:15] += (ink - paper) * (seven() // 255)
    image, description = read_image(saved(tmp_path, pixels), SPEC)
    expected, _ = read_image(saved(tmp_path, np.pad(seven(), 20)), SPEC)
    assert torch.equal(image, expected)
    assert description.startswith("28x28 grey, light on dark, cut to 10x20 at (5, 3)")


@pytest.mark.parametrize("low", [0, 40, 100])
def test_an_image_of_other_data_is_taken_as_it_is(low: int, tmp_path: Path) -> None:
    """A dark spot on grey stays dark, and where it is."""
    pixels = np.full((20, 30), 120, np.uint8)
    pixels[3:9, 5:9] = low
    image, description = read_image(saved(tmp_path, pixels), GREY)
    assert torch.equal(image, torch.from_numpy(pixels)[None])
    assert description == "30x20 grey"
    image, description = read_image(saved(tmp_path, pixels), COLOUR)
    assert torch.equal(image, torch.from_numpy(pixels).expand(3, -1, -1))
    assert description == "30x20 grey"


@pytest.mark.parametrize("kind", ["png", "turned.png"])
def test_an_image_of_other_data_is_scaled_to_their_size(kind: str, tmp_path: Path) -> None:
    """Whatever its shape: blocks of one colour become pixels."""
    rng = np.random.default_rng(0)
    small = np.kron(rng.integers(0, 256, (2, 3, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    large = Image.fromarray(np.kron(small, np.ones((6, 2, 1), np.uint8)))
    exif = Image.Exif()
    if kind == "turned.png":
        exif[0x0112] = 6
        large = large.rotate(90, expand=True)
    file = tmp_path / f"image.{kind}"
    large.save(file, exif=exif)
    image, description = read_image(file, COLOUR)
    assert description == "60x120 colour, scaled to 30x20"
    inside = image[:, 5::10, 5::10]
    assert torch.equal(inside, torch.from_numpy(small[5::10, 5::10]).movedim(-1, 0))
    image, description = read_image(file, GREY)
    assert description == "60x120 colour, made grey, scaled to 30x20"
    grey = (small[5::10, 5::10] @ np.array([0.299, 0.587, 0.114])).round()  # ITU-R BT.601
    np.testing.assert_allclose(image[0, 5::10, 5::10], grey, atol=1)


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=lambda spec: spec.name)
@pytest.mark.parametrize("read", [read_image, read_scene])
def test_a_blank_image_is_refused_only_where_it_should_show_ink(
    read: Any, spec: DataSpec, tmp_path: Path
) -> None:
    file = saved(tmp_path, np.full((20, 30), 7, np.uint8))
    assert (read(file, spec)[0] == 7).all()
    with pytest.raises(ValueError, match=r"image\.png is blank: its levels are 7 to 7"):
        read(file, SPEC if read is read_image else SCENES)


def test_levels_are_stretched_only_where_there_is_ink(tmp_path: Path) -> None:
    pixels = np.linspace(60, 200, 600).round().astype(np.uint8).reshape(20, 30)
    image, description = read_scene(saved(tmp_path, pixels), GREY)
    assert np.array_equal(image[0], pixels)
    assert description == "30x20 grey"
    assert "stretched" in read_scene(saved(tmp_path, pixels), SCENES)[1]


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
    assert "colour with transparency, made grey, dark on light, inverted" in description
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
    spec = DataSpec("FashionMNIST", 1, (28, 28), ("a", "b"), ink=True)
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


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "jpg", "tif"])
def test_the_size_in_the_header_is_that_of_the_turned_image(
    kind: str, orientation: int, tmp_path: Path
) -> None:
    """Orientations from 5 on lay a photograph of 15x12 pixels on its side."""
    file, exif = tmp_path / f"turned.{kind}", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((12, 15, 3), np.uint8)).save(file, exif=exif)
    size = (12, 15) if orientation > 4 else (15, 12)
    assert image_size(file) == size
    assert read_colour(file).shape == (3, *size[::-1])


@pytest.mark.parametrize("ink", [255, 200, 130])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_light_ink_on_nothing_is_shown_on_black(mode: str, ink: int, tmp_path: Path) -> None:
    pixels = np.full((60, 30, 4), ink, np.uint8)
    pixels[..., 3] = np.pad(seven(), ((20, 20), (10, 10)))
    file = saved(tmp_path, pixels, mode)
    image, description = read_image(file, SPEC)
    made = {"RGBA": ", made grey", "LA": ""}[mode]
    assert f"light, shown on black{made}, light on dark" in description
    expected, _ = read_image(saved(tmp_path, np.pad(seven(), 20)), SPEC)
    assert torch.equal(image, expected)


def test_paper_that_is_there_stays_light_where_its_corners_are_not(tmp_path: Path) -> None:
    pixels = np.full((60, 40, 4), 240, np.uint8)
    pixels[20:40, 10:20, :3] -= 200 * (seven()[..., None] // 255)
    pixels[:3, :3, 3] = 0
    image, description = read_image(saved(tmp_path, pixels), SPEC)
    assert "dark on light, inverted" in description
    expected, _ = read_image(saved(tmp_path, np.pad(seven(), 20)), SPEC)
    assert torch.equal(image, expected)


@pytest.mark.parametrize("read", [read_image, read_scene])
@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 1e-3), (900, 1000), (3, -3)])
def test_decimals_of_any_range_are_scaled(
    read: Any, low: float, high: float, tmp_path: Path
) -> None:
    spec = SPEC if read is read_image else SCENES
    plain = np.pad(seven(), 20)
    expected, _ = read(saved(tmp_path, plain), spec)
    file = tmp_path / "decimals.tif"
    Image.fromarray((low + plain / 255 * (high - low)).astype(np.float32)).save(file)
    image, description = read(file, spec)
    assert torch.equal(image, expected)
    least, most = sorted((low, high))
    assert f"50x60 grey with decimals, values {least:g} to {most:g}" in description


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_one_message(value: float, tmp_path: Path) -> None:
    pixels = np.zeros((50, 50), np.float32)
    pixels[7, 9] = value
    file = tmp_path / "decimals.tif"
    Image.fromarray(pixels).save(file)
    with pytest.raises(ValueError, match=r"decimals\.tif: it has values that are not finite"):
        read_image(file, SPEC)


@pytest.mark.parametrize("size", [28, 300])
@pytest.mark.parametrize(("dot", "remarked"), [(1, True), (3, True), (7, True), (12, False)])
def test_a_dot_is_remarked(size: int, dot: int, remarked: bool, tmp_path: Path) -> None:
    pixels = np.zeros((size, size), np.uint8)
    pixels[9 : 9 + dot, 9 : 9 + dot] = 255
    _, description = read_image(saved(tmp_path, pixels), SPEC)
    remark = f"pixels of ink: only {dot**2}, so the classes mean little"
    assert description.endswith(remark) == remarked


def test_specks_far_apart_are_remarked(tmp_path: Path) -> None:
    pixels = np.zeros((100, 100), np.uint8)
    pixels[[10, 80], [20, 90]] = 255
    _, description = read_image(saved(tmp_path, pixels), SPEC)
    assert "pixels of ink: only 2," in description


def test_an_image_with_too_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    """The file ends where its pixels would begin."""
    header = b"IHDR" + pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    file = tmp_path / "bomb.png"
    start = b"\x89PNG\r\n\x1a\n" + pack(">I", 13) + header + pack(">I", crc32(header))
    file.write_bytes(start + pack(">I", 0) + b"IDAT")
    says = r"bomb\.png: its 20000x20000 pixels are more than 100 million, the limit; scale it down"
    limit = Image.MAX_IMAGE_PIXELS
    for read, spec in ((read_image, SPEC), (read_scene, SCENES)):
        with pytest.raises(ValueError, match=says):
            read(file, spec)
    assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["L.png", "RGBA.png", "1.png", "F.tif", "RGB.jpg", "turned.png"])
def test_a_large_image_is_reduced_and_looks_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = np.kron(np.pad(seven(), 20), np.ones((24, 24), np.uint8))  # 1440 x 1200
    image, options = Image.fromarray(large), {}
    mode = kind.partition(".")[0]
    if mode == "turned":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
        image = image.rotate(90, expand=True)
    elif mode != "L":
        image = image.convert(mode)
    file = tmp_path / kind
    image.save(file, **options)
    expected, before = read_image(file, SPEC)
    monkeypatch.setattr(image_files, "ORDINARY_PIXELS", 200_000)  # so the factor is 3
    monkeypatch.setattr(image_files, "STRIP", 12_345)
    reduced, description = read_image(file, SPEC)
    assert before.startswith("1200x1440")
    size = "300x360" if mode == "RGB" else "400x480"  # decoded at half the size, then halved
    assert description.startswith(size)
    assert ", reduced from 2 million pixels" in description
    torch.testing.assert_close(reduced, expected, atol=16, rtol=0)


def test_an_image_of_ordinary_size_is_not_reduced() -> None:
    """Telephones take photographs of 12 million pixels."""
    assert 12e6 < image_files.ORDINARY_PIXELS < image_files.MOST_PIXELS


PEAK = """
import re, sys
from pathlib import Path
from context_agg.data.image_files import read_image
from context_agg.data.spec import DataSpec

def most() -> int:
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])

before = most()
spec = DataSpec("MNIST", 1, (28, 28), tuple("0123456789"), margin=4, ink=True)
read_image(Path(sys.argv[1]), spec)
print((most() - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_eighty_megapixels_take_little_memory(tmp_path: Path) -> None:
    """320 MB are the decoded pixels."""
    large = Image.new("RGBA", (10_000, 8_000))
    large.paste("white", (4_000, 2_000, 4_600, 6_000))
    large.save(tmp_path / "large.png", compress_level=1)
    command = [sys.executable, "-c", PEAK, tmp_path / "large.png"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(result.stdout) < 500


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", r"x\.png is empty"),
        (b"no image", r"x\.png is not an image"),
        (None, r"x\.png is a folder; name image files"),
    ],
)
def test_what_is_no_image_is_called_by_name(
    content: bytes | None, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.png"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises((OSError, ValueError), match=says):
        read_image(file, SPEC)


@pytest.mark.parametrize("kind", ["png", "tif", "jpg", "gif", "webp", "bmp", "ico"])
def test_a_damaged_image_is_read_or_called_by_name(kind: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / f"damaged.{kind}"
    Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)).save(file)
    whole = np.frombuffer(file.read_bytes(), np.uint8)
    for _ in range(50):
        changed = whole[: rng.integers(20, len(whole))].copy()
        changed[rng.integers(0, 60, 3) % len(changed)] = rng.integers(0, 256, 3)
        file.write_bytes(changed.tobytes())
        try:
            read_image(file, SPEC)
        except (OSError, ValueError) as error:
            assert str(file) in str(error)  # noqa: PT017 (some are read all the same)
