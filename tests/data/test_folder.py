"""A user's own images and masks: the split, sizes, batches, and files that are wrong."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile

from context_agg.cli.compose import compose_config
from context_agg.data.batches import Shard
from context_agg.data.folder import load_folder
from context_agg.data.labelled_files import HeaderCheck
from context_agg.data.spec import VOID
from context_agg.runs.build import build
from tests.fake_pairs import (
    STEP,
    folder_labels,
    picture,
    turn_behind_the_pixels,
    write_folder,
    write_pair,
)

OPTIONS: dict[str, Any] = {
    "classes": ["road", "car", "sky"],
    "ignore": 9,
    "validation": 0.2,
    "test": 0.3,
    "split_seed": 0,
    "mirror": False,
    "zoom": 0.0,
    "crop": None,
    "batch_size": 4,
    "held_out": "validation",
    "memory": 1.0,
    "workers": 0,
    "seed": 0,
}
SIZES = ((12, 15), (12, 15), (9, 20), (14, 11), (12, 15))


def load(root: Path, **options: Any) -> Any:
    return load_folder(root=str(root), **{**OPTIONS, **options})


def contents(part: Any) -> set[bytes]:
    return {part.stored(slice(n, n + 1))[0].numpy().tobytes() for n in range(len(part))}


def test_without_folders_for_the_parts_the_split_is_seeded(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    data = load(tmp_path)
    parts = (data.train, data.held_out, data.test)
    assert [len(part) for part in parts] == [5, 2, 3]
    everything = [contents(part) for part in parts]
    assert len(set.union(*everything)) == 10
    again, other = load(tmp_path, seed=1), load(tmp_path, split_seed=1)
    assert [contents(part) for part in (again.train, again.held_out, again.test)] == everything
    assert contents(other.train) != everything[0]
    assert data.spec.classes == ("road", "car", "sky")
    assert data.spec.shapes["image_size"] == (12, 15)
    assert (data.train.target == VOID).sum() == 5 * 4
    known = data.train.target != VOID
    assert torch.equal(data.train.images[:, 0][known], data.train.target[known] * STEP)


def test_with_folders_for_the_parts_these_are_the_parts(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        write_folder(tmp_path, count, part=part)
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.held_out, data.test)] == [3, 2, 1]
    for file in (tmp_path / "masks" / "val").iterdir():
        file.unlink()
    (tmp_path / "masks" / "val").rmdir()
    with pytest.raises(FileNotFoundError, match=re.escape(f"no folder {tmp_path}/masks/val")):
        load(tmp_path)


def test_a_part_that_is_missing_beside_others_is_named(tmp_path: Path) -> None:
    for part in ("val", "test"):
        write_folder(tmp_path, 2, part=part)
    with pytest.raises(FileNotFoundError, match=re.escape(f"no folder {tmp_path}/images/train")):
        load(tmp_path)


def test_grey_images_and_other_endings_are_read_in_colour(tmp_path: Path) -> None:
    for number, (mode, ending) in enumerate([("L", "png"), ("RGB", "jpg"), ("RGBA", "webp")]):
        name, labels = f"{number}", folder_labels(number, (12, 15))
        write_pair(tmp_path / "images" / "x.png", tmp_path / "masks" / f"{name}.png", labels)
        image = Image.fromarray(picture(labels)).convert(mode)
        image.save(tmp_path / "images" / f"{name}.{ending}")
    (tmp_path / "images" / "x.png").unlink()
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    (tmp_path / "masks" / ".hidden.png").write_text("not an image")
    data = load(tmp_path, validation=0.3, test=0.3)
    assert data.spec.in_channels == 3
    assert data.train.images.shape == (1, 3, 12, 15)


# images of different sizes


def test_images_of_different_sizes_need_a_crop_or_batches_of_one(tmp_path: Path) -> None:
    write_folder(tmp_path, 10, SIZES)
    for part, size in (("train", (12, 15)), ("val", (9, 20)), ("test", (12, 15))):
        write_folder(tmp_path / "joined", 4, (size,), part)
    load(tmp_path / "joined")
    with pytest.raises(ValueError, match=r"pixels and .*, so they cannot be in one batch; cut all"):
        load(tmp_path)
    with pytest.raises(ValueError, match="cannot be in one batch"):  # those to train on, joined
        load(tmp_path / "joined", held_out="test")
    for options, shapes in (({"crop": [8, 8]}, {(8, 8)}), ({"batch_size": 1}, set(SIZES))):
        data = load(tmp_path, **options)
        seen = {tuple(images.shape[2:]) for images, _ in data.train_dataloader()}
        assert seen <= shapes
        assert data.spec.image_size in shapes


def test_processes_that_share_a_batch_need_images_of_one_size(tmp_path: Path) -> None:
    write_folder(tmp_path, 10, SIZES)
    options = [f"data.root={tmp_path}", "data.classes=[road,car,sky]", "data.ignore=9"]
    overrides = ["experiment=camvid_front_end", "data=folder", *options, "data.batch_size=1"]
    build(compose_config(*overrides, "data.crop=[8,8]"), Shard(0, 2))
    cfg = compose_config(*overrides, "data.crop=null")
    build(cfg)
    with pytest.raises(ValueError, match="different sizes, and 2 processes train on one batch"):
        build(cfg, Shard(0, 2))


def test_held_out_images_are_in_one_batch_only_with_those_of_their_size(tmp_path: Path) -> None:
    for part in ("train", "val", "test"):
        write_folder(tmp_path, 9, SIZES, part)
    data = load(tmp_path, crop=[8, 8], batch_size=2)
    batches = list(data.test_dataloader())
    # in their order: 2 of 12x15, 1 of 9x20, 1 of 14x11, 3 of 12x15, 1 of 9x20, 1 of 14x11
    assert [len(images) for images, _ in batches] == [2, 1, 1, 2, 1, 1, 1]
    assert len(data.test_dataloader()) == 7
    numbers = iter(range(9))
    for images, target in batches:
        for image, labels in zip(images, target, strict=True):
            number = next(numbers)
            expected = folder_labels(number, SIZES[number % 5])
            assert np.array_equal(labels, np.where(expected == 9, VOID, expected))
            assert np.array_equal(image.movedim(0, -1).numpy(), picture(expected, number))


# what is not in memory


@pytest.mark.parametrize("crop", [None, [8, 8]])
def test_what_does_not_fit_into_memory_is_read_when_needed_and_is_the_same(
    crop: Any, tmp_path: Path
) -> None:
    """10 images of 12x15 pixels, 4 bytes each, are 7,200 bytes."""
    write_folder(tmp_path, 10)
    options = {"crop": crop, "mirror": True, "zoom": 0.4, "batch_size": 2}
    kept = load(tmp_path, memory=7200e-9, **options)
    read = load(tmp_path, memory=7199e-9, **options)
    assert not kept.train.streams
    assert read.train.streams
    for part in ("train", "held_out", "test"):
        assert torch.equal(getattr(kept, part).images, getattr(read, part).images)
    for one, two in zip(epochs(kept), epochs(read), strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


def epochs(data: Any, done: int = 0) -> list[Any]:
    """Two epochs of training batches, without the first `done` of the first epoch."""
    loader = data.train_dataloader()
    loader.load_state_dict({"epoch": 3, "batches": done})
    batches = []
    for epoch in (3, 4):
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


@pytest.mark.filterwarnings("ignore:.*worker processes in total")  # more than there are cores
def test_workers_give_the_same_batches_and_go_on_within_an_epoch(tmp_path: Path) -> None:
    write_folder(tmp_path, 16)
    options = {"crop": [8, 8], "mirror": True, "zoom": 0.4, "batch_size": 2, "memory": 0}
    expected = epochs(load(tmp_path, **options))
    assert len(expected) == 8
    for workers in (1, 3):
        data = load(tmp_path, **options, workers=workers)
        for done in (0, 3):
            for one, two in zip(epochs(data, done), expected[done:], strict=True):
                assert torch.equal(one[0], two[0])
                assert torch.equal(one[1], two[1])


def test_a_worker_names_a_file_that_is_damaged(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    data = load(tmp_path, memory=0, workers=1)
    for file in (tmp_path / "masks").iterdir():
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cannot read .*masks.*image\d\d\.png"):
        list(data.train_dataloader())


# what is refused


def palette(colours: list[int]) -> Any:
    def change(root: Path) -> None:
        for file in (root / "masks" / "image03.png", root / "masks" / "image04.png"):
            mask = Image.fromarray(np.asarray(Image.open(file))).convert("P")
            second = colours if "04" in file.name else [9, 9, 9]
            mask.putpalette([0, 0, 0, *second, *range(30)])
            mask.save(file)

    return change


def saved(name: str, pixels: Any) -> Any:
    def change(root: Path) -> None:
        Image.fromarray(pixels).save(root / "masks" / name)

    return change


SPOT = folder_labels(4, (12, 15))
SPOT[5, 7] = 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            saved("image04.png", SPOT),
            r"the pixel in row 5, column 7 has the number 3, but the numbers of labels are 0 to 2 "
            r"and 9; correct the masks, name their classes in data\.classes, or ignore another",
        ),
        (palette([9, 0, 0]), r"image03\.png have different palettes, so a number is not the same"),
        (saved("image04.jpg", SPOT), r"image04\.jpg and .*image04\.png have the same name"),
        (
            lambda root: (root / "masks" / "image04.png").rename(root / "masks" / "other.png"),
            r"image04\.png has no mask: .* add it, or remove image04\.png",
        ),
    ],
)
def test_a_mask_that_is_wrong_is_named(change: Any, message: str, tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    load(tmp_path)
    change(tmp_path)
    with pytest.raises((ValueError, OSError), match=message) as error:
        load(tmp_path)
    assert "image04" in str(error.value)


def write_binary(root: Path, count: int, high: int) -> None:
    """Masks of two classes in the numbers 0 and `high`, which a third of the pixels have."""
    for number in range(count):
        labels = np.zeros((12, 15), np.uint8)
        labels[4:8] = high
        name = f"image{number:02}.png"
        write_pair(root / "images" / name, root / "masks" / name, labels, number)


@pytest.mark.parametrize(
    ("high", "ignored"), [(255, ", and 33.33% of their pixels are ignored"), (0, "")]
)
@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_masks_of_one_class_only_are_refused(
    held_out: str, high: int, ignored: str, tmp_path: Path
) -> None:
    """Such as masks of 0 and 255, where the number to ignore is 255."""
    options = {"classes": ["bg", "cell"], "ignore": 255, "held_out": held_out}
    write_binary(tmp_path, 10, high)
    says = f"{tmp_path.name}: the masks to train on hold one class only, bg{ignored}; correct the"
    with pytest.raises(ValueError, match=re.escape(says)) as error:
        load(tmp_path, **options)
    assert str(error.value).endswith(
        "or ignore another number with data.ignore; two classes are 0 and 1 in the masks, not 0 "
        "and 255"
    )
    load(tmp_path, **options, memory=0)  # whose masks have not been read
    write_binary(tmp_path, 10, 1)
    assert load(tmp_path, **options).train.target.unique().tolist() == [0, 1]


def test_masks_of_0_and_255_are_not_two_labels_whatever_is_ignored(tmp_path: Path) -> None:
    write_binary(tmp_path, 10, 255)
    says = "number 255, but the numbers of labels are 0 to 1 and 254; .* are 0 and 1 in the masks"
    with pytest.raises(ValueError, match=says):
        load(tmp_path, classes=["bg", "cell"], ignore=254)


def test_masks_of_one_bit_a_pixel_hold_0_and_1(tmp_path: Path) -> None:
    write_binary(tmp_path, 10, 255)
    for file in (tmp_path / "masks").iterdir():
        Image.open(file).convert("1").save(file)
    target = load(tmp_path, classes=["bg", "cell"], ignore=255).train.target
    assert target.flatten().bincount().tolist() == [120 * len(target), 60 * len(target)]


def test_masks_that_all_have_other_names_are_named_not_counted(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    for file in (tmp_path / "masks").iterdir():
        file.rename(file.with_stem(f"{file.stem}_mask"))
    says = rf"images/image00\.png has no mask: there is no {tmp_path}/masks/image00\.png"
    with pytest.raises(ValueError, match=says):
        load(tmp_path)


def test_a_jpeg_is_no_mask(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    (tmp_path / "masks" / "image04.png").unlink()
    saved("image04.jpg", folder_labels(4, (12, 15)))(tmp_path)
    with pytest.raises(ValueError, match=r"image04\.jpg is a JPEG, which changes numbers"):
        load(tmp_path)


def test_sixteen_bits_in_either_order_of_bytes_are_labels(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    expected = load(tmp_path).train.target
    for number, order in enumerate("<>" * 5):
        numbers = folder_labels(number, (12, 15)).astype(f"{order}u2")
        mode = "I;16B" if order == ">" else "I;16"
        (tmp_path / "masks" / f"image{number:02}.png").unlink()
        file = tmp_path / "masks" / f"image{number:02}.tif"
        Image.frombytes(mode, (15, 12), numbers.tobytes()).save(file)
        with Image.open(file) as saved_again:
            assert saved_again.mode == mode
    assert torch.equal(load(tmp_path).train.target, expected)


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        ("RGB", r"a colour image \(RGB\), but .*; replace the colours by these numbers"),
        ("LA", r"a grey image with transparency \(LA\), but .*; save it without transparency"),
        ("F", r"an image with decimals \(F\), but .*; save it with whole numbers"),
    ],
)
def test_a_mask_without_one_whole_number_a_pixel_is_called_what_it_is(
    mode: str, says: str, tmp_path: Path
) -> None:
    write_folder(tmp_path, 10)
    (tmp_path / "masks" / "image04.png").unlink()
    mask = Image.fromarray(folder_labels(4, (12, 15))).convert(mode)
    mask.save(tmp_path / "masks" / "image04.tif")
    with pytest.raises(ValueError, match=rf"masks/image04\.tif is {says}"):
        load(tmp_path)


def test_masks_with_one_palette_are_labels(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    expected = load(tmp_path).train.target
    palette([9, 9, 9])(tmp_path)
    assert torch.equal(load(tmp_path).train.target, expected)


@pytest.mark.parametrize("kind", ["png", "bmp", "tif"])
def test_headers_and_palettes_are_compared_without_reading_pixels(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, masks = tmp_path / "image.png", [tmp_path / f"{n}.{kind}" for n in range(3)]
    Image.new("RGB", (15, 12)).save(image)
    for mask, blue in zip(masks, (9, 9, 8), strict=True):
        coloured = Image.fromarray(folder_labels(0, (12, 15))).convert("P")
        coloured.putpalette([0, 0, 0, 7, 8, blue, *range(24)])
        coloured.save(mask)
    Image.new("L", (15, 12)).save(tmp_path / f"grey.{kind}")
    monkeypatch.setattr(ImageFile.ImageFile, "load", None)
    check = HeaderCheck()
    for mask in (*masks[:2], tmp_path / f"grey.{kind}"):
        assert check(image, mask) == (12, 15)
    assert check.palette[:6] == [0, 0, 0, 7, 8, 9]
    with pytest.raises(ValueError, match=rf"2\.{kind} and .*0\.{kind} have different palettes"):
        check(image, masks[2])


def test_a_photograph_that_its_camera_turned_fits_its_upright_mask(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    exif = Image.Exif()
    exif[0x0112] = 6  # viewers rotate it by 90 degrees clockwise
    file = tmp_path / "images" / "image04.png"
    upright = Image.open(file).convert("RGB")
    upright.rotate(90, expand=True).save(file, exif=exif)
    data = load(tmp_path)
    assert np.asarray(upright).tobytes() in {
        image.movedim(0, -1).contiguous().numpy().tobytes()
        for part in (data.train, data.held_out, data.test)
        for image in part.images
    }


def test_a_png_that_tells_behind_its_pixels_that_it_is_turned_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, 10)
    file, mask = tmp_path / "images" / "image04.png", tmp_path / "masks" / "image04.png"
    turn_behind_the_pixels(file)
    says = r"images/image04\.png, turned as .* has 12x15 pixels, but its mask .* has 15x12; save"
    with pytest.raises(ValueError, match=says):
        load(tmp_path)
    read_when_needed = load(tmp_path, memory=0)
    with pytest.raises(ValueError, match=says):
        read_when_needed.train.stored(slice(None))
    Image.fromarray(np.asarray(Image.open(mask)).T).save(mask)  # upright
    with pytest.raises(ValueError, match=r"masks/image04\.png has 12x15 .*; save both upright"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": []}, "classes=[] must be a list of different names, 2 to 255 of them"),
        ({"classes": ["a", "a", "b"]}, "must be a list of different names"),
        ({"classes": "road"}, "classes=road must be a list of different names"),
        ({"classes": ["a", 3, "b"]}, "must be a list of different names"),
        ({"ignore": 2}, "ignore=2 must be a whole number, 3 or more"),
        ({"ignore": 256}, "ignore=256 must be a byte, 3 to 255"),
        (
            {"validation": 0},
            "with data.validation=0 and data.test=0.3, 10 images are 7",
        ),
        (
            {"test": 0.9},
            "with data.validation=0.2 and data.test=0.9, 10 images are 0 for train, 2 for val, 9 "
            "for test, but each part needs one; take other shares or more images, or sort images/",
        ),
        ({"test": -1}, "the share of test=-1 must be a finite number from 0 to 1"),
        ({"memory": -1}, "memory=-1 must be a finite number, 0 or more"),
        ({"workers": -1}, "workers=-1 must be a whole number, 0 or more"),
        ({"held_out": "val"}, "unknown held_out='val'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_folder(tmp_path, 10)
    with pytest.raises(ValueError, match=re.escape(message)):
        load(tmp_path, **options)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"root='' must be the folder .* data\.root=DIR"):
        load_folder(root="", **OPTIONS)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere$"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"/file is a file, not a folder$"):
        load(tmp_path / "file")
