"""What is drawn of labels: overlays with a legend, contact sheets; the order of a folder."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from context_agg.data.contact_sheet import GAP, SIDE, ContactSheet
from context_agg.data.image_folder import images_in
from context_agg.data.label_files import overlay_of, write_labels
from context_agg.data.legend import with_legend
from context_agg.data.palette import palette

CLASSES = ("road", "a class with a long name", "tree", "Straße", "car")


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    """All colours of a picture."""
    return {tuple(colour) for colour in np.unique(np.asarray(picture).reshape(-1, 3), axis=0)}


def below(picture: Image.Image, height: int) -> Image.Image:
    return picture.crop((0, height, picture.width, picture.height))


@pytest.mark.parametrize("size", [(7, 5), (333, 201), (1501, 40)])
def test_a_legend_is_below_the_picture_never_over_it(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    shown = with_legend(Image.fromarray(noise), CLASSES, {1, 4})
    assert np.array_equal(np.asarray(shown)[: size[1], : size[0]], noise)
    assert shown.height > size[1] + 12


def test_a_legend_has_the_colours_of_the_classes_that_occur_and_of_no_other() -> None:
    table = [tuple(colour) for colour in palette(CLASSES).tolist()]
    grey = Image.new("RGB", (640, 100))
    drawn = colours(below(with_legend(grey, CLASSES, {1, 3}), 100))
    assert drawn & set(table[1:5]) == {table[1], table[3]}
    assert colours(below(with_legend(grey, CLASSES, set()), 100)) == {(255, 255, 255)}


@pytest.mark.parametrize("first", ["background", "sky"])
def test_the_box_of_class_0_is_empty_only_if_it_is_the_background(first: str) -> None:
    grey, size = Image.new("RGB", (640, 100)), 12
    drawn = below(with_legend(grey, (first, *CLASSES[1:]), {0}), 100)
    inside = drawn.getpixel((size // 2 + size // 2, size // 2 + size // 2))
    assert inside == ((255, 255, 255) if first == "background" else (31, 119, 180))


def test_frames_of_one_size_have_overlays_of_one_size_and_names_stay_in_place() -> None:
    frame = Image.new("RGB", (320, 240))
    some, all_of_them = (with_legend(frame, CLASSES, seen) for seen in ({2}, set(range(5))))
    assert some.size == all_of_them.size
    drawn = np.asarray(some) != 255
    assert np.array_equal(np.asarray(some)[drawn], np.asarray(all_of_them)[drawn])


def test_a_name_that_is_wider_than_the_picture_makes_the_legend_wider() -> None:
    shown = with_legend(Image.new("RGB", (30, 30)), ("x", 60 * "W"), {1})
    white = np.asarray(shown)[:, -1]
    assert shown.width > 60 * 6
    assert (white == 255).all()  # nothing is cut off


def test_the_overlay_file_is_the_overlay_with_its_legend(tmp_path: Path) -> None:
    labels = torch.zeros(33, 47, dtype=torch.uint8)
    labels[3:9, 5:30] = 2
    image = torch.full((1, 33, 47), 90, dtype=torch.uint8)
    overlay = overlay_of(image, labels, CLASSES)
    numbers, shown = write_labels(tmp_path / "x", labels, overlay, CLASSES)
    with Image.open(numbers) as read:
        assert np.array_equal(np.asarray(read), labels.numpy())
    with Image.open(shown) as read:
        assert np.array_equal(np.asarray(read)[:33, :47], np.asarray(overlay))
        table = [tuple(colour) for colour in palette(CLASSES).tolist()]
        assert colours(below(read, 33)) & set(table[1:5]) == {table[2]}


def test_a_contact_sheet_has_pages_of_thirty(tmp_path: Path) -> None:
    """Each thumbnail has a grey of its own; only the last page has a class of colour 2."""
    sheet = ContactSheet(tmp_path, CLASSES)
    written = []
    for number in range(63):
        picture = Image.new("RGB", (80, 60), (50 + number, 50 + number, 51 + number))
        written += sheet.add(f"frame{number}.png", picture, {1} if number < 62 else {1, 2})
    written += sheet.finish()
    names = ["contact_sheet.png", "contact_sheet_2.png", "contact_sheet_3.png"]
    assert [page.name for page in written] == names == sorted(p.name for p in tmp_path.iterdir())
    table = [tuple(colour) for colour in palette(CLASSES).tolist()]
    for page, numbers in zip(written, (range(30), range(30, 60), range(60, 63)), strict=True):
        with Image.open(page) as read:
            seen = colours(read)
            first = read.getpixel((GAP + SIDE // 2, GAP + SIDE // 4))
        greys = {(50 + number, 50 + number, 51 + number) for number in range(63)}
        assert seen & greys == {(50 + n, 50 + n, 51 + n) for n in numbers}
        assert first == (50 + numbers[0], 50 + numbers[0], 51 + numbers[0])
        assert seen & set(table[1:5]) == ({table[1], table[2]} if 62 in numbers else {table[1]})
    assert sheet.finish() == []


def test_pages_of_an_earlier_call_with_more_images_do_not_stay(tmp_path: Path) -> None:
    (tmp_path / "contact_sheet_notes.png").touch()
    picture = Image.new("RGB", (80, 60))
    for images, pages in ((63, 3), (31, 2), (1, 1), (0, 0)):
        sheet = ContactSheet(tmp_path, CLASSES)
        for number in range(images):
            sheet.add(f"frame{number}.png", picture, {1})
        sheet.finish()
        names = ["contact_sheet.png", "contact_sheet_2.png", "contact_sheet_3.png"][:pages]
        found = sorted(file.name for file in tmp_path.iterdir())
        assert found == [*names, "contact_sheet_notes.png"]


@pytest.mark.parametrize("name", [300 * "long" + "0001.png", "zwei\nZeilen.png", "\udcff.png", ""])
def test_any_file_name_can_stand_on_a_sheet(name: str, tmp_path: Path) -> None:
    sheet = ContactSheet(tmp_path, CLASSES)
    sheet.add(name, Image.new("RGB", (900, 20), "green"), {0})
    (page,) = sheet.finish()
    with Image.open(page) as read:
        edge = np.asarray(read)
    assert (edge[:, :GAP][: SIDE // 8] == 255).all()  # the name does not leave its thumbnail
    assert (edge[: SIDE // 8, -GAP:] == 255).all()


def test_frames_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = ["a.PNG", "frame2.png", "frame02.jpg", "frame10.png", "frame10b3.png", "frame10b20.png"]
    for name in [*reversed(names), "notes.txt", ".frame1.png"]:
        (tmp_path / name).touch()
    (tmp_path / "frame1.png").mkdir()
    found = [file.name for file in images_in(tmp_path)]
    assert found == ["a.PNG", "frame02.jpg", *[n for n in names[1:] if n != "frame02.jpg"]]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    with pytest.raises(FileNotFoundError, match=r"holds no images \(\.png, "):
        images_in(tmp_path)
