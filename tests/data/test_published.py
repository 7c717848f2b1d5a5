"""VOC 2012 and Cityscapes in torchvision's layouts, written small."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from context_agg.data.cityscapes import load_cityscapes
from context_agg.data.spec import VOID
from context_agg.data.voc2012 import load_voc2012
from tests.fake_pairs import picture, random_labels, write_cityscapes, write_voc2012

OPTIONS: dict[str, Any] = {
    "validation": 0.25,
    "split_seed": 0,
    "mirror": True,
    "zoom": 0.2,
    "crop": [16, 16],
    "batch_size": 2,
    "held_out": "validation",
    "memory": 1.0,
    "workers": 0,
    "seed": 0,
}


def test_voc2012_has_21_classes_and_is_tested_on_its_validation_set(tmp_path: Path) -> None:
    write_voc2012(tmp_path)
    data = load_voc2012(root=str(tmp_path), **OPTIONS)
    assert (len(data.train), len(data.held_out), len(data.test)) == (6, 2, 3)
    assert data.spec.classes[0] == "background"
    assert (data.spec.classes[15], data.spec.classes[20]) == ("person", "tvmonitor")
    assert data.spec.shapes == {
        "in_channels": 3,
        "image_size": (16, 16),
        "num_classes": 21,
        "dense": True,
    }
    folder = tmp_path / "VOCdevkit" / "VOC2012"
    names = (folder / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    for number, name in enumerate(names):
        image, labels = data.test.stored(slice(number, number + 1))
        with Image.open(folder / "SegmentationClass" / f"{name}.png") as mask:
            assert mask.mode == "P"
            assert np.array_equal(labels[0], np.asarray(mask))
        with Image.open(folder / "JPEGImages" / f"{name}.jpg") as photo:
            assert np.array_equal(image[0].movedim(0, -1), np.asarray(photo))
    assert (data.test.target == VOID).any()
    for images, target in data.train_dataloader():
        assert images.shape == (2, 3, 16, 16)
        assert target.shape == (2, 16, 16)


def test_cityscapes_is_trained_on_its_19_classes(tmp_path: Path) -> None:
    """Numbers from the table of its authors, by hand: road 7, sky 23, person 24, bicycle 33."""
    write_cityscapes(tmp_path)
    data = load_cityscapes(root=str(tmp_path), **OPTIONS)
    assert (len(data.train), len(data.held_out), len(data.test)) == (6, 2, 3)
    assert len(data.spec.classes) == 19
    masks = sorted((tmp_path / "gtFine" / "val").rglob("*_labelIds.png"))
    for number, file in enumerate(masks):
        ids = np.asarray(Image.open(file))
        labels = data.test.stored(slice(number, number + 1))[1][0].numpy()
        for id_, name in (
            (7, "road"),
            (11, "building"),
            (23, "sky"),
            (24, "person"),
            (33, "bicycle"),
        ):
            there = ids == id_
            assert there.any()
            assert (labels[there] == data.spec.classes.index(name)).all()
        for id_ in (0, 3, 9, 18, 29, 255):  # unlabelled, out of the image, parking, ...
            assert (labels[ids == id_] == VOID).all()
        assert set(np.unique(labels)) <= {*range(19), VOID}


def test_cityscapes_are_read_when_needed_in_the_same_order(tmp_path: Path) -> None:
    write_cityscapes(tmp_path)
    kept, read = (load_cityscapes(root=str(tmp_path), **{**OPTIONS, "memory": m}) for m in (1, 0))
    assert read.train.streams
    for one, two in zip(kept.train_dataloader(), read.train_dataloader(), strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[1], two[1])


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (load_voc2012, r"there is no .*VOCdevkit/VOC2012 .* data\.root=DIR, or fetch it"),
        (load_cityscapes, r"there is no .*leftImg8bit/train or no .* data\.root=DIR"),
    ],
)
def test_data_that_are_not_there_are_one_message(load: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=message):
        load(root=str(tmp_path), **OPTIONS)


@pytest.mark.parametrize("memory", [0, 1])
def test_a_missing_partner_is_named_whether_or_not_files_are_read(
    memory: float, tmp_path: Path
) -> None:
    write_voc2012(tmp_path)
    file = tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "train_02.png"
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no file .*train_02"):
        load_voc2012(root=str(tmp_path), **{**OPTIONS, "memory": memory})


def test_masks_that_were_replaced_are_refused(tmp_path: Path) -> None:
    write_voc2012(tmp_path)
    file = tmp_path / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "train_02.png"
    with Image.open(file) as mask:
        size = mask.size[::-1]
    Image.fromarray(random_labels(*size, 30)).save(file)
    with pytest.raises(ValueError, match=r"train_02\.png: the pixel in row .* are 0 to 20 and 255"):
        load_voc2012(root=str(tmp_path), **OPTIONS)
    Image.fromarray(picture(random_labels(*size, 10))).save(file)
    with pytest.raises(ValueError, match=r"train_02\.png is a colour image"):
        load_voc2012(root=str(tmp_path), **OPTIONS)
