"""`python -m context_agg.data DIR`: what is in the files, and what is wrong with which."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from context_agg.cli.compose import compose_config
from context_agg.data.__main__ import main
from context_agg.data.survey import SPLIT
from tests.fake_pairs import (
    turn_behind_the_pixels,
    write_camvid,
    write_cityscapes,
    write_folder,
    write_voc2012,
)


def numbers(printed: str) -> dict[int, list[str]]:
    """The rows of the table, by number, without blanks and commas."""
    rows = re.findall(r"^ +(\d+)  (.*)$", printed, re.MULTILINE)
    return {int(number): row.replace(",", "").split() for number, row in rows}


def test_sizes_numbers_and_shares_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, 5, ((12, 15), (9, 20)))
    main([str(tmp_path), "--classes", "road,car,sky", "--ignore", "9"])
    printed = capsys.readouterr().out
    assert "5 in all" in printed
    assert "sizes: 15x12 (3), 20x9 (2)" in printed
    assert "numbers in the masks: 0 to 9" in printed
    assert "\nnothing is wrong\n" in printed
    assert printed.endswith("so training needs data.crop=[H,W] or data.batch_size=1\n")
    masks = [np.asarray(Image.open(file)) for file in (tmp_path / "masks").iterdir()]
    pixels = np.concatenate([mask.ravel() for mask in masks])
    rows = numbers(printed)
    assert rows.keys() == {0, 1, 2, 9}
    for number, name in enumerate(("road", "car", "sky")):
        count = int((pixels == number).sum())
        share = f"{100 * count / (pixels != 9).sum():.2f}%"
        assert rows[number] == [name, str(count), share, "5"]
    assert rows[9] == ["(ignored)", "20", "5"]


def test_a_class_without_a_pixel_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, 5)
    with pytest.raises(SystemExit, match="1 of 4 classes cannot be learned; correct the masks, na"):
        main([str(tmp_path), "--classes", "road,car,sky,cow", "--ignore", "9"])
    printed = capsys.readouterr().out
    assert numbers(printed)[3] == ["cow", "0", "0.00%", "0"]
    assert printed.endswith("\nno mask to train on holds the number 3, cow\n")
    assert "nothing is wrong" not in printed


@pytest.mark.parametrize("classes", [[], ["--classes", "road,car,sky"]])
def test_too_few_images_for_the_default_split_are_wrong(
    classes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, 3)
    says = r"^with data.validation=0.15 and data.test=0.15, 3 images are 3 for train, 0 for val, 0"
    with pytest.raises(SystemExit, match=says):
        main([str(tmp_path), *classes, "--ignore", "9"])
    assert "nothing is wrong" not in capsys.readouterr().out


def test_the_default_split_is_that_of_training() -> None:
    data = compose_config("data=folder", "data.root=own").data
    assert (data.validation, data.test, data.split_seed) == SPLIT


def test_a_few_images_in_folders_of_their_parts_are_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "val", "test"):
        write_folder(tmp_path, 1, part=part)
    main([str(tmp_path), "--classes", "road,car,sky", "--ignore", "9"])
    assert capsys.readouterr().out.endswith("nothing is wrong\n")


@pytest.mark.parametrize("orientation", [1, 2, 6, 8])
def test_images_that_are_turned_are_counted(
    orientation: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are square, so that their sizes do not tell."""
    write_folder(tmp_path, 5, ((12, 12),))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for number in (2, 4):
        file = tmp_path / "images" / f"image{number:02}.png"
        with Image.open(file) as image:
            image.copy().save(file, exif=exif)
    main([str(tmp_path), "--classes", "road,car,sky", "--ignore", "9"])
    said = f"2 images, first {tmp_path}/images/image02.png; the masks must fit the upright images"
    assert (said in capsys.readouterr().out) == (orientation != 1)


def test_an_orientation_behind_the_pixels_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, 5, ((12, 12),))
    turn_behind_the_pixels(tmp_path / "images" / "image03.png")
    main([str(tmp_path)])
    assert f"1 image, first {tmp_path}/images/image03.png" in capsys.readouterr().out


def test_masks_of_0_and_255_are_not_taken_for_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, 2)
    for file in (tmp_path / "masks").iterdir():
        white = np.asarray(Image.open(file)) > 0
        Image.fromarray(255 * white.astype(np.uint8)).save(file)
    says = r"1 of 2 classes .* or ignore another number .*; two classes are 0 and 1 in the masks"
    with pytest.raises(SystemExit, match=says):
        main([str(tmp_path), "--classes", "bg,cell"])
    assert capsys.readouterr().out.endswith("\nno mask to train on holds the number 1, cell\n")


@pytest.mark.parametrize(("part", "wrong"), [("train", True), ("val", False), ("test", False)])
def test_only_the_masks_to_train_on_need_every_class(
    part: str, wrong: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_camvid(tmp_path)
    for file in (folder / f"{part}annot").iterdir():
        labels = np.array(Image.open(file))
        labels[labels == 2] = 3
        Image.fromarray(labels).save(file)
    if wrong:
        with pytest.raises(SystemExit, match=r"1 of 11 classes .*; take the masks of SegNet's"):
            main([str(folder)])
    else:
        main([str(folder)])
    assert ("holds the number 2, pole" in capsys.readouterr().out) == wrong


def test_without_classes_every_number_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, 5)
    main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert printed.endswith("nothing is wrong\n")  # all have one size
    rows = numbers(printed)
    assert rows.keys() == {0, 1, 2, 9}
    assert sum(int(row[0]) for row in rows.values()) == 5 * 12 * 15


def test_without_classes_only_the_number_to_ignore_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In each of the 5 masks of 12x15 pixels, 4 are 9, and of the others 18 are made 255."""
    write_folder(tmp_path, 5)
    for file in (tmp_path / "masks").iterdir():
        mask = np.array(Image.open(file))
        mask[5:7, 3:12] = 255
        Image.fromarray(mask).save(file)
    main([str(tmp_path), "--ignore", "9"])
    rows = numbers(capsys.readouterr().out)
    assert rows[9] == ["(ignored)", "20", "5"]
    assert rows[255] == ["90", f"{100 * 90 / (5 * (12 * 15 - 4)):.2f}%", "5"]


def test_shares_are_of_the_pixels_with_a_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of the pixels are 7, which is no label; of the others 4 of 15 are 1."""
    write_folder(tmp_path, 1)
    mask = np.full((12, 15), 7, np.uint8)
    mask[:6] = 0
    mask[:6, :15:4] = 1  # 4 columns of 15
    Image.fromarray(mask).save(tmp_path / "masks" / "image00.png")
    with pytest.raises(SystemExit, match="1 of these files"):
        main([str(tmp_path), "--classes", "road,car"])
    rows = numbers(capsys.readouterr().out)
    assert rows[0] == ["road", "66", "73.33%", "1"]
    assert rows[1] == ["car", "24", "26.67%", "1"]
    assert rows[7] == ["(not", "a", "label)", "90", "1"]


@pytest.mark.parametrize("more", [[], ["--classes", "road,car"]])
def test_masks_without_any_class_have_no_shares(
    more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, 2)
    for file in (tmp_path / "masks").iterdir():
        Image.fromarray(np.full((12, 15), 255, np.uint8)).save(file)
    with pytest.raises(SystemExit, match="2 of these files"):
        main([str(tmp_path), *more])
    printed = capsys.readouterr().out
    assert "%" not in printed
    assert numbers(printed)[255] == ["(ignored)", "360", "2"]
    assert "no pixel has a class; leave the mask and its image out" in printed


def test_everything_that_is_wrong_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path, 9)
    images, masks = tmp_path / "images", tmp_path / "masks"
    whole = (masks / "image00.png").read_bytes()
    (masks / "image00.png").write_bytes(whole[: len(whole) // 2])
    whole = (images / "image01.png").read_bytes()
    (images / "image01.png").write_bytes(whole[: len(whole) // 2])
    (masks / "image02.png").unlink()
    (images / "image03.png").unlink()
    mask = np.zeros((12, 15), np.uint8)
    Image.fromarray(mask[1:]).save(masks / "image04.png")
    Image.fromarray(mask + 7).save(masks / "image05.png")
    Image.fromarray(mask).convert("RGB").save(masks / "image06.png")
    Image.fromarray(mask.astype(np.uint16) + 300).save(masks / "image07.png")
    with pytest.raises(SystemExit, match="8 of these files cannot be trained on"):
        main([str(tmp_path), "--classes", "road,car,sky", "--ignore", "9"])
    printed = capsys.readouterr().out
    lines = printed.splitlines()[-8:]
    for number, words in enumerate(
        (
            "cannot read .*trunc.*; replace the file, or remove it with its image",
            "cannot read .*trunc.*; replace the file, or remove it with its mask",
            "has no mask",
            "has no image",
            "15x11 pixels",
            "the number 7, but",
            "colour image",
            "the number 300, but",
        )
    ):
        (line,) = [line for line in lines if f"image{number:02}.png" in line]
        assert re.search(words, line)
    assert "7  (not a label)" in printed
    assert "nothing is wrong" not in printed


def test_published_data_sets_are_known_by_their_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_camvid(tmp_path / "streets")
    write_voc2012(tmp_path / "voc")
    write_cityscapes(tmp_path / "cities")
    for place, name, classes in (
        (folder, "CamVid: 6 in train, 3 in val, 3 in test", ("sky", "bicyclist")),
        (folder.parent, "CamVid: 6 in train, 3 in val, 3 in test", ("sky", "bicyclist")),
        (tmp_path / "voc", "VOC 2012: 7 in train, 1 in val, 3 in test", ("cat", "tvmonitor")),
        (tmp_path / "cities", "Cityscapes: 7 in train, 1 in val, 3 in test", ("road", "rider")),
    ):
        main([str(place)])
        printed = capsys.readouterr().out
        assert printed.startswith(name)
        assert all(f"  {word} " in printed for word in classes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["."], "holds no images/ and masks/; name one with images/ and masks/, or with CamVid/"),
        (["empty"], "empty is an empty folder; name one with images/ and masks/"),
        (["empty", "--classes", "road,car"], "empty is an empty folder; name one with images/"),
        (["file"], "file is a file, not a folder"),
        (["own", "--classes", "road"], "must be a list of different names, 2 to 255 of them"),
        (["own", "--classes", "road,car", "--ignore", "1"], "ignore=1 must be a whole number, 2"),
        (["own", "--ignore", "-1"], "ignore=-1 must be a whole number, 0 or more"),
        (["own", "--ignore", "300"], "ignore=300 must be a byte, 0 to 255"),
        (
            ["streets", "--classes", "road,car"],
            "which holds CamVid/, has classes of its own;",
        ),
    ],
)
def test_a_mistake_is_one_message(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(Path("own"), 3)
    write_camvid(Path("streets"))
    Path("empty").mkdir()
    Path("file").touch()
    with pytest.raises(SystemExit, match=re.escape(message)):
        main(arguments)
