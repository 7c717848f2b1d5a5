"""The data sets, their batches, and files that are missing or damaged."""

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from torch import Tensor
from torchvision import datasets

from context_agg.data.augment import RandomAffine, RandomShift
from context_agg.data.batches import EpochBatches
from context_agg.data.digits import load_digits
from context_agg.data.images import ImageData
from context_agg.data.mnist import load_mnist
from tests.fake_mnist import TEST, TRAIN, write_idx, write_mnist

OPTIONS: dict[str, Any] = {"batch_size": 32, "shift": 0, "held_out": "validation", "seed": 0}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every mirror refuse the connection, as on a machine without a network."""
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", ["http://127.0.0.1:9/"])


# digits


def test_digits_are_all_there_once_in_mnist_format() -> None:
    data = load_digits(**OPTIONS)
    parts = (data.train, data.held_out, data.test)
    assert [len(part) for part in parts] == [1257, 180, 360]
    assert data.spec.shapes == {
        "in_channels": 1,
        "image_size": (28, 28),
        "num_classes": 10,
        "dense": False,
    }
    images = torch.cat([part.images for part in parts])
    assert images.dtype == torch.uint8
    assert images.max() == 255
    assert not images[..., :4, :].any()
    assert not images[..., -4:].any()
    # Averaged back to 8x8, every original digit occurs exactly once.
    small = torch.nn.functional.interpolate(
        images[..., 4:24, 4:24].double(), (8, 8), mode="bilinear", antialias=True
    ).flatten(1)
    original = torch.from_numpy(sklearn.datasets.load_digits().data) * (255 / 16)
    nearest = torch.cdist(original, small).argmin(1)
    assert len(nearest.unique()) > 0.99 * len(original)
    target = torch.cat([part.target for part in parts])
    labels = torch.from_numpy(sklearn.datasets.load_digits().target)
    assert (target[nearest] == labels).double().mean() > 0.999


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("wrong", ["train", "validation", "test"])
def test_images_are_bytes(wrong: str, dtype: str) -> None:
    options: dict[str, Any] = {"batch_size": 1, "held_out": "validation", "seed": 0}
    images = torch.ones(1, 3, 4, 5, dtype=torch.uint8)
    parts = {part: (images, torch.zeros(1)) for part in ("train", "validation", "test")}
    parts[wrong] = images.to(getattr(torch, dtype)), torch.zeros(1)
    says = rf"^x: the {wrong} images are {dtype}, not uint8; make them bytes .*255 \* images"
    with pytest.raises(ValueError, match=says):
        ImageData(**parts, name="x", classes="ab", **options)


def test_ink_is_grey() -> None:
    part = torch.zeros(1, 3, 4, 5, dtype=torch.uint8), torch.zeros(1)
    options: dict[str, Any] = {"batch_size": 1, "held_out": "validation", "seed": 0}
    with pytest.raises(ValueError, match="x: ink=True, but the images have 3 channels, not 1"):
        ImageData(*[part] * 3, name="x", classes="ab", ink=True, **options)


def test_the_split_is_fixed_and_stratified() -> None:
    first, second = (load_digits(**{**OPTIONS, "seed": seed}) for seed in (0, 1))
    for part in ("train", "held_out", "test"):
        one, two = getattr(first, part), getattr(second, part)
        assert torch.equal(one.images, two.images)
        shares = torch.bincount(one.target, minlength=10) / len(one)
        assert (shares - 0.1).abs().max() < 0.01


def test_held_out_test_learns_from_all_but_the_test_images() -> None:
    data = load_digits(**{**OPTIONS, "held_out": "test"})
    assert (len(data.train), len(data.held_out), len(data.test)) == (1437, 360, 360)
    assert torch.equal(data.held_out.images, data.test.images)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"held_out": "val"}, "held_out='val'; choose one of validation, test"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number, 1 or more"),
        ({"shift": -1}, "shift=-1 must be a whole number, 0 or more"),
    ],
)
def test_a_wrong_option_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_digits(**{**OPTIONS, **option})


@pytest.mark.parametrize("option", [{"held_out": "val"}, {"batch_size": 0}, {"shift": -1}])
def test_a_wrong_option_is_refused_before_mnist_is_looked_for(
    option: dict[str, Any], tmp_path: Path
) -> None:
    root = str(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=f"{next(iter(option))}="):
        load_mnist(name="MNIST", root=root, **{**OPTIONS, **option})
    assert list(tmp_path.iterdir()) == []


# batches


def epoch(data: ImageData, number: int) -> list[list[Tensor]]:
    loader: Any = data.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def test_order_and_shifts_are_a_function_of_seed_and_epoch_alone() -> None:
    data = load_digits(**{**OPTIONS, "shift": 2})
    once = epoch(data, 3)
    torch.manual_seed(99)
    np.random.seed(99)
    state = torch.get_rng_state()
    again = epoch(load_digits(**{**OPTIONS, "shift": 2}), 3)
    assert torch.equal(torch.get_rng_state(), state)
    for (images, target), (same_images, same_target) in zip(once, again, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(target, same_target)
    for other in (epoch(data, 4), epoch(load_digits(**{**OPTIONS, "shift": 2, "seed": 1}), 3)):
        assert not torch.equal(other[0][1], once[0][1])


def test_an_epoch_shows_every_image_once() -> None:
    batches = EpochBatches(103, 10, seed=0, shuffle=True)
    indices = [index for index, _ in batches]
    assert len(batches) == len(indices) == 11
    assert len(indices[-1]) == 3
    assert torch.equal(torch.cat(indices).sort().values, torch.arange(103))


def test_neighbouring_seeds_and_epochs_share_no_order() -> None:
    orders = set()
    for seed in range(5):
        for number in range(5):
            batches = EpochBatches(20, 20, seed, shuffle=True)
            batches.set_epoch(number)
            (index, _), *_ = batches
            orders.add(tuple(index.tolist()))
    assert len(orders) == 25


def test_held_out_images_keep_their_order_and_place() -> None:
    data = load_digits(**{**OPTIONS, "shift": 3})
    images = torch.cat([batch[0] for batch in data.test_dataloader()])
    assert torch.equal(images, data.test.images)


def test_random_shift_moves_each_image_by_its_own_amount_and_fills_with_zeros() -> None:
    images = torch.randint(1, 256, (200, 2, 5, 7), dtype=torch.uint8)
    moved = RandomShift(2)(images, np.random.default_rng(0))
    assert moved.dtype == torch.uint8
    assert moved.shape == images.shape
    seen = set()
    for image, result in zip(images, moved, strict=True):
        matches = []
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                expected = torch.zeros_like(image)
                rows, columns = range(max(0, dy), min(5, 5 + dy)), range(max(0, dx), min(7, 7 + dx))
                for r in rows:
                    for c in columns:
                        expected[:, r, c] = image[:, r - dy, c - dx]
                if torch.equal(result, expected):
                    matches.append((dy, dx))
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 25


def test_a_shift_of_zero_changes_nothing() -> None:
    images = torch.randint(0, 256, (3, 1, 4, 4), dtype=torch.uint8)
    assert torch.equal(RandomShift(0)(images, np.random.default_rng(0)), images)


def test_a_quarter_turn_is_exact() -> None:
    """A rotation by 90 degrees is exact; a positive draw rotates clockwise."""

    class Draws:
        """Stands for a generator that draws the numbers it is given."""

        def uniform(self, low: float, high: float, count: int) -> Any:
            return np.ones(count) * self.value

        value = 1.0

    images = torch.randint(0, 256, (2, 1, 6, 6), dtype=torch.uint8)
    draws: Any = Draws()
    warped = RandomAffine(0, rotate=90, side=6)._warp(images, draws)
    assert torch.equal(warped, images.rot90(-1, (2, 3)))


def test_zoom_scales_about_the_middle() -> None:
    """A square of 32 pixels in 96 becomes one of 32 s; its mass grows with s^2."""
    images = torch.zeros(500, 1, 96, 96, dtype=torch.uint8)
    images[..., 32:64, 32:64] = 200
    zoomed = RandomAffine(0, zoom=0.5, side=96)(images, np.random.default_rng(0)).float()
    scale = (zoomed.sum((1, 2, 3)) / images[0].sum()).sqrt()
    assert float(scale.min()) == pytest.approx(1 / 1.5, rel=0.02)
    assert float(scale.max()) == pytest.approx(1.5, rel=0.02)
    mean = zoomed.mean(0)[0]
    torch.testing.assert_close(mean, mean.flip(0, 1), rtol=0.02, atol=0.5)  # still in the middle


def test_rotation_keeps_shapes_on_oblong_images() -> None:
    """A disc stays a disc even if height and width differ, and nothing else appears."""
    y, x = torch.meshgrid(torch.arange(20) - 9.5, torch.arange(31) - 15.0, indexing="ij")
    disc = (200 * (x**2 + y**2 < 36)).to(torch.uint8)[None, None].repeat(20, 1, 1, 1)
    turned = RandomAffine(0, rotate=180, side=20)(disc, np.random.default_rng(0)).float()
    inside, outside = x**2 + y**2 < 16, x**2 + y**2 > 64
    assert bool((turned[:, 0, inside] == 200).all())
    assert bool((turned[:, 0, outside] == 0).all())


def test_an_affine_change_of_zero_changes_nothing() -> None:
    images = torch.randint(0, 256, (3, 1, 4, 4), dtype=torch.uint8)
    assert torch.equal(RandomAffine(0, side=4)(images, np.random.default_rng(0)), images)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rotate": -1}, "rotate=-1 must be a finite number from 0 to 180"),
        ({"rotate": 181}, "rotate=181 must be a finite number from 0 to 180"),
        ({"zoom": -0.1}, r"zoom=-0\.1 must be a finite number from 0 to 10"),
        ({"zoom": 1e9}, r"zoom=1000000000\.0 must be"),
        ({"shift": -1}, "shift=-1 must be a whole number, 0 or more"),
        ({"shift": 28}, "shift=28 must be less than the 28 pixels"),
    ],
)
def test_a_change_beyond_its_limits_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomAffine(**{"shift": 0, **change}, side=28)


# MNIST


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_mnist_is_read_from_torchvisions_layout(name: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, name)
    data = load_mnist(name=name, root=str(tmp_path), **OPTIONS)
    assert (len(data.train), len(data.held_out), len(data.test)) == (TRAIN - 5000, 5000, TEST)
    for part in (data.train, data.held_out, data.test):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.target)


def test_real_mnist_begins_as_everybody_knows_it(mnist: Path) -> None:
    data = load_mnist(name="MNIST", root=str(mnist), **OPTIONS)
    assert (len(data.train), len(data.held_out), len(data.test)) == (55_000, 5_000, 10_000)
    assert data.test.target[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    pixels = torch.cat([data.train.images, data.held_out.images]).double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std().item() == pytest.approx(0.3081, abs=5e-5)


@pytest.mark.usefixtures("no_network")
def test_missing_files_are_named_with_the_way_out(tmp_path: Path) -> None:
    folder = write_mnist(tmp_path)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_mnist(name="MNIST", root=str(tmp_path), **OPTIONS)
    for part in ("t10k-labels-idx1-ubyte missing in", str(folder), "data.root", "data=digits"):
        assert part in str(error.value)
    assert "train-images" not in str(error.value)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("root", "says"),
    [("file", "is a file"), ("MNIST", "one folder too deep"), ("MNIST/raw", "one folder too deep")],
)
def test_a_root_that_is_not_the_folder_is_refused(root: str, says: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=says) as error:
        load_mnist(name="MNIST", root=str(tmp_path / root), **OPTIONS)
    assert root == "file" or f"data.root={tmp_path}" in str(error.value)


def test_a_failed_download_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing in"):
        load_mnist(name="MNIST", root=str(tmp_path / "new" / "root"), **OPTIONS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_gzipped_files_are_extracted_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_mnist(tmp_path)
    resources = []
    for file in list(folder.iterdir()):
        packed = gzip.compress(file.read_bytes(), 1)
        file.with_name(file.name + ".gz").write_bytes(packed)
        file.unlink()
        resources.append((file.name + ".gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(datasets.MNIST, "resources", sorted(resources, reverse=True))
    assert len(load_mnist(name="MNIST", root=str(tmp_path), **OPTIONS).test) == TEST


@pytest.mark.parametrize("keep", [7, 15, 1000])
def test_a_truncated_file_is_refused(keep: int, tmp_path: Path) -> None:
    file = write_mnist(tmp_path) / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"train-images-idx3-ubyte is damaged: {keep:,} bytes"):
        load_mnist(name="MNIST", root=str(tmp_path), **OPTIONS)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    file = write_mnist(tmp_path) / "t10k-labels-idx1-ubyte"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"t10k-labels-idx1-ubyte .*not 2049.*delete it"):
        load_mnist(name="MNIST", root=str(tmp_path), **OPTIONS)


def test_images_where_labels_should_be_are_refused(tmp_path: Path) -> None:
    file = write_mnist(tmp_path) / "train-labels-idx1-ubyte"
    write_idx(file, 2051, np.zeros((TRAIN, 28, 28), dtype=np.uint8))
    with pytest.raises(ValueError, match="starts with magic number 2051, not 2049"):
        load_mnist(name="MNIST", root=str(tmp_path), **OPTIONS)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="name='KMNIST'; choose one of MNIST, FashionMNIST"):
        load_mnist(name="KMNIST", root="data", **OPTIONS)
