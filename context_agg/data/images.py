"""ImageData, the form in which the rest of the project uses a data set."""

from collections.abc import Iterator, Sequence

import lightning as L
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

from context_agg.data.batches import (
    Augment,
    BatchDataset,
    EpochBatches,
    EpochLoader,
    ImageDataset,
    Images,
    Shard,
)
from context_agg.data.pairs import PairDataset
from context_agg.data.pixels import network_input
from context_agg.data.spec import VOID, DataSpec
from context_agg.ops.checks import check_choice, check_whole


class ImageData(L.LightningDataModule):
    """Training, held-out and test images; batches are float images in 0..1 and int64 targets.

    Args:
        train: training images, with their targets.
        validation: images split from the training set.
        test: test images.
        name: name of the data set, for messages.
        classes: names of the classes, in order.
        margin: empty border around the object in an image, in pixels.
        dense: whether every pixel has a class of its own, or `VOID`.
        ink: whether the images, all grey, show something light on black, as MNIST does. `predict`
            then prepares others as MNIST was prepared.
        batch_size: images in a batch of one process.
        held_out: "validation", or "test" (as in the 2018 post: the test images are evaluated
            during training, and the validation images are trained on).
        seed: the order of the training images depends on it and on the epoch.
        augment: changes the training images, batch by batch.
        workers: processes that read images, of the parts that are not in memory.

    Attributes:
        shard: the part of a batch that this process takes, if several share it.

    Raises:
        ValueError: for an unknown `held_out`, a batch size below 1, an empty part, images that are
            not bytes, targets that do not fit the images or the classes, or `ink` that is not grey.
    """

    def __init__(
        self,
        train: Images | PairDataset,
        validation: Images | PairDataset,
        test: Images | PairDataset,
        *,
        name: str,
        classes: Sequence[str],
        margin: int = 0,
        dense: bool = False,
        ink: bool = False,
        batch_size: int,
        held_out: str,
        seed: int,
        augment: Augment | None = None,
        workers: int = 0,
    ) -> None:
        super().__init__()
        check_loading(batch_size, held_out)
        check_whole("workers", workers, 0)
        parts = {"train": train, "validation": validation, "test": test}
        datasets: list[BatchDataset] = []
        for part, images in parts.items():
            if isinstance(images, PairDataset):  # whoever reads files checks them one by one
                datasets.append(images)
                continue
            _check(name, part, images, len(classes), dense)
            datasets.append(ImageDataset(*images, augment if part == "train" else None))
        self.train, self.held_out, self.test = datasets
        if held_out == "test":
            self.train, self.held_out = self.train.joined(self.held_out), self.test
        in_channels = self.train.stored(slice(1))[0].shape[1]
        size = self.train.image_size
        if ink and in_channels != 1:
            raise ValueError(f"{name}: ink=True, but the images have {in_channels} channels, not 1")
        self.spec = DataSpec(name, in_channels, size, tuple(classes), margin, dense, ink)
        self.held_out_name = held_out
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.shard = Shard()

    def training_labels(self) -> Iterator[Tensor]:
        """The labels to train on, unchanged: (H, W) of each image, or (N,) of all if not dense."""
        if not self.spec.dense:
            yield self.train.stored(slice(len(self.train)))[1]
            return
        for number in range(len(self.train)):  # one by one, as they may differ in size
            yield self.train.stored(slice(number, number + 1))[1][0]

    def train_dataloader(self) -> EpochLoader:
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> EpochLoader:
        return self._loader(self.held_out, shuffle=False)

    def test_dataloader(self) -> EpochLoader:
        return self._loader(self.test, shuffle=False)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> Images:
        """Converts bytes to floats on the device, in the dtype of the learner."""
        images, target = batch
        assert self.trainer is not None
        dtype = next(self.trainer.lightning_module.parameters()).dtype
        return network_input(images, dtype), target.long()

    def _loader(self, dataset: BatchDataset, *, shuffle: bool) -> EpochLoader:
        size = self.batch_size * self.shard.ranks
        batches = EpochBatches(len(dataset), size, self.seed, shuffle=shuffle, kinds=dataset.kinds)
        return EpochLoader(dataset, batches, self.workers if dataset.streams else 0, self.shard)


def check_loading(batch_size: int, held_out: str) -> None:
    """Rejects what no data set can be loaded with; call it before data are read.

    Raises:
        ValueError: for a batch size below 1 or an unknown `held_out`.
    """
    check_choice("held_out", held_out, ("validation", "test"))
    check_whole("batch_size", batch_size)


def _check(name: str, part: str, data: Images, classes: int, dense: bool) -> None:
    images, target = data
    expected = (len(images), *images.shape[2:]) if dense else (len(images),)
    if len(images) == 0:
        raise ValueError(f"{name}: there are no {part} images")
    if images.dtype != torch.uint8:
        raise ValueError(
            f"{name}: the {part} images are {str(images.dtype).removeprefix('torch.')}, not uint8; "
            "make them bytes from 0 to 255, floats from 0 to 1 with (255 * images).round().byte()"
        )
    if target.shape != expected:
        kind = "a class for every pixel" if dense else "a class for every image"
        raise ValueError(
            f"{name}: the {part} targets have shape {tuple(target.shape)}, the images "
            f"{tuple(images.shape)}; {kind} needs {expected}"
        )
    if dense and (blank := (target == VOID).flatten(1).all(1)).any():
        number = int(blank.nonzero()[0])
        raise ValueError(f"{name}: {part} image {number} has no pixel with a class; leave it out")
    wrong = (target < 0) | (target >= classes)
    if dense:
        wrong &= target != VOID
    if wrong.any():
        number, *_ = first = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{name}: {part} image {number} has the label {int(target[tuple(first)])}; there are "
            f"{classes} classes, 0 to {classes - 1}"
            + (f", and {VOID} for pixels to ignore" if dense else "")
        )


def stratified_split(images: Tensor, target: Tensor, size: int) -> tuple[Images, Images]:
    """Splits off `size` images, always the same ones, with the classes in proportion."""
    kept, split_off = train_test_split(
        torch.arange(len(target)).numpy(), test_size=size, stratify=target.numpy(), random_state=0
    )
    return (images[kept], target[kept]), (images[split_off], target[split_off])
