"""ImageData: what a data set is to the rest of the project."""

from typing import Any

import lightning as L
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import DataLoader

from context_agg.data.batches import Augment, EpochBatches, ImageDataset, Images


class ImageData(L.LightningDataModule):
    """Training, held-out and test images; batches are float images in 0..1 and int64 targets.

    Args:
        name: of the data set, to print.
        train: images to learn from.
        validation: images split from the training set.
        test: images to test on.
        num_classes: K.
        batch_size: images in a batch.
        held_out: "validation", or "test" (as the 2018 post did: the test images are watched while
            training, and the validation images are learnt from).
        seed: of the order of the training images, which is a function of it and of the epoch.
        augment: changes the training images, batch by batch.
        dense: whether every pixel has a class of its own.

    Raises:
        ValueError: for an unknown `held_out` or a batch size below 1.
    """

    def __init__(
        self,
        name: str,
        train: Images,
        validation: Images,
        test: Images,
        *,
        num_classes: int,
        batch_size: int,
        held_out: str,
        seed: int,
        augment: Augment | None = None,
        dense: bool = False,
    ) -> None:
        super().__init__()
        if held_out not in ("validation", "test"):
            raise ValueError(f"unknown held_out={held_out!r}; choose one of validation, test")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size} must be 1 or more")
        self.name = name
        if held_out == "test":
            images, target = (torch.cat(parts) for parts in zip(train, validation, strict=True))
            train, validation = (images, target), test
        self.train = ImageDataset(*train, augment)
        self.held_out = ImageDataset(*validation)
        self.test = ImageDataset(*test)
        self.held_out_name = held_out
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.seed = seed
        self.dense = dense

    @property
    def shapes(self) -> dict[str, Any]:
        """What a network must know of the data: in_channels, image_size, num_classes, dense."""
        in_channels, height, width = self.test.images.shape[1:]
        return {
            "in_channels": in_channels,
            "image_size": (height, width),
            "num_classes": self.num_classes,
            "dense": self.dense,
        }

    def train_dataloader(self) -> DataLoader[Images]:
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Images]:
        return self._loader(self.held_out, shuffle=False)

    def test_dataloader(self) -> DataLoader[Images]:
        return self._loader(self.test, shuffle=False)

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> Images:
        """Bytes become floats on the device, in the dtype of the learner."""
        images, target = batch
        assert self.trainer is not None
        return images.to(self.trainer.lightning_module.dtype) / 255, target.long()

    def _loader(self, dataset: ImageDataset, *, shuffle: bool) -> DataLoader[Images]:
        batches = EpochBatches(len(dataset), self.batch_size, self.seed, shuffle=shuffle)
        # batch_size=None: the sampler's indices pick a whole batch out of the tensors at once.
        # A generator of its own, because DataLoader draws a number from it every epoch.
        return DataLoader(dataset, batch_size=None, sampler=batches, generator=torch.Generator())


def stratified_split(images: Tensor, target: Tensor, size: int) -> tuple[Images, Images]:
    """Splits off `size` images with the classes in proportion, the same ones every time."""
    kept, split_off = train_test_split(
        torch.arange(len(target)).numpy(), test_size=size, stratify=target.numpy(), random_state=0
    )
    return (images[kept], target[kept]), (images[split_off], target[split_off])
