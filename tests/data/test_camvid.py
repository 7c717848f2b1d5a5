"""CamVid in the layout of SegNet's tutorial, written small and, where it is there, real."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from context_agg.data.camvid import CLASSES, load_camvid
from context_agg.data.spec import VOID
from tests.fake_pairs import STEP, write_camvid

OPTIONS: dict[str, Any] = {
    "mirror": False,
    "zoom": 0.0,
    "crop": None,
    "batch_size": 4,
    "held_out": "validation",
    "memory": 1.0,
    "workers": 0,
    "seed": 0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_camvid(tmp_path)


def load(folder: Path, **options: Any) -> Any:
    return load_camvid(root=str(folder.parent), **{**OPTIONS, **options})


def test_images_and_labels_are_those_of_the_files(folder: Path) -> None:
    data = load(folder)
    assert data.spec.shapes == {
        "in_channels": 3,
        "image_size": (18, 24),
        "num_classes": 11,
        "dense": True,
    }
    for name, part in (("train", data.train), ("val", data.held_out), ("test", data.test)):
        files = sorted((folder / name).iterdir())
        assert len(part) == len(files)
        for file, image, labels in zip(files, part.images, part.target, strict=True):
            assert image.dtype == labels.dtype == torch.uint8
            assert np.array_equal(image.movedim(0, -1).numpy(), np.asarray(Image.open(file)))
            mask = np.asarray(Image.open(folder / f"{name}annot" / file.name))
            assert np.array_equal(labels, np.where(mask == 11, VOID, mask))


def test_training_batches_are_mirrored_and_others_are_not(folder: Path) -> None:
    data = load(folder, mirror=True)
    stored = {image.numpy().tobytes() for image in data.train.images}
    mirrored = {image.flip(2).numpy().tobytes() for image in data.train.images}
    seen = []
    for epoch in range(5):
        loader: Any = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        for images, target in loader:
            known = target != VOID
            assert torch.equal(images[:, 0][known], target[known] * STEP)
            seen += [image.numpy().tobytes() for image in images]
    assert len(seen) == 5 * 6
    assert set(seen) <= stored | mirrored
    assert set(seen) & stored
    assert set(seen) & mirrored
    for images, target in data.val_dataloader():
        assert torch.equal(images, data.held_out.images)
        assert torch.equal(target, data.held_out.target)


def test_held_out_test_learns_from_the_validation_images_too(folder: Path) -> None:
    data = load(folder, held_out="test", mirror=True)
    assert (len(data.train), len(data.held_out), len(data.test)) == (9, 3, 3)
    assert torch.equal(data.held_out.images, data.test.images)
    assert data.train.view.mirror


def remove(file: str) -> Any:
    return lambda folder: (folder / file).unlink()


def write(file: str, pixels: Any, mode: str | None = None) -> Any:
    def change(folder: Path) -> None:
        image = Image.fromarray(pixels)
        if mode is not None:
            image = image.convert(mode)
        image.save(folder / file)

    return change


def cut_off(file: str) -> Any:
    def change(folder: Path) -> None:
        whole = (folder / file).read_bytes()
        (folder / file).write_bytes(whole[: len(whole) // 2])

    return change


def negative(file: str) -> Any:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        pixels = STRANGE.astype(np.int32) * -1
        Image.fromarray(pixels).save((folder / file).with_suffix(".tif"))

    return change


MASK = "valannot/val_01.png"
EMPTY = np.zeros((18, 24), np.uint8)
STRANGE = EMPTY.copy()
STRANGE[3, 5] = 12
SHADES = np.arange(18 * 24, dtype=np.uint8).reshape(18, 24)
DAMAGE = [
    (remove(MASK), "val/val_01.png has no mask: there is no"),
    (remove("val/val_01.png"), "valannot/val_01.png has no image: there is no"),
    (write(MASK, EMPTY[1:]), r"val_01.png has 24x17 pixels, but its image .*val_01.png has 24x18"),
    (write(MASK, STRANGE), "the pixel in row 3, column 5 has the number 12, but the numbers of l"),
    (write(MASK, STRANGE.astype(np.uint16) * 100), "column 5 has the number 1200"),
    (negative(MASK), "column 5 has the number -12"),
    (write(MASK, EMPTY, "RGB"), r"is a colour image \(RGB\), but a mask has one number a pixel"),
    (write(MASK, EMPTY, "RGBA"), r"is a colour image \(RGBA\)"),
    (write(MASK, SHADES, "P"), "has a palette, and its numbers are places in it"),
    (write(MASK, EMPTY + 11), "no pixel has a class; leave the mask and its image out"),
    (cut_off(MASK), r"cannot read .*val_01\.png: .*trunc"),
    (cut_off("val/val_01.png"), r"cannot read .*val_01\.png: .*trunc"),
    (write("val/val_01.jpg", EMPTY), r"val_01\.jpg and .*val_01\.png have the same name"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGE)
def test_a_file_that_is_wrong_is_named(change: Any, message: str, folder: Path) -> None:
    change(folder)
    with pytest.raises((OSError, ValueError), match=message) as error:
        load(folder)
    assert "val_01" in str(error.value)


def test_folders_that_are_not_there_are_named(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*CamVid: take CamVid from"):
        load(folder / "train")
    for file in (folder / "testannot").iterdir():
        file.unlink()
    with pytest.raises(FileNotFoundError, match="testannot holds no images"):
        load(folder)
    (folder / "testannot").rmdir()
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*testannot"):
        load(folder)


def test_real_camvid_is_all_there(camvid: Path) -> None:
    """The published split; building is the largest class and bicyclist a small one."""
    data = load_camvid(root=str(camvid), **OPTIONS)
    parts = (data.train, data.held_out, data.test)
    assert [len(part) for part in parts] == [367, 101, 233]
    labels = torch.cat([part.target.flatten() for part in parts])
    counts = torch.bincount(labels, minlength=256)
    shares = dict(zip(CLASSES, (counts[:11] / counts[:11].sum()).tolist(), strict=True))
    assert counts[11:VOID].sum() == 0
    assert 0 < counts[VOID] / counts.sum() < 0.06
    assert 0.2 < shares["road"] < 0.35
    assert 0.2 < shares["building"] < 0.3
    assert max(shares[name] for name in ("pole", "pedestrian", "bicyclist", "sign")) < 0.02
