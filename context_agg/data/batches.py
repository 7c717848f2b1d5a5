"""Images in memory, batched by index, with no work per image and no worker processes."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from context_agg.data.pixels import network_input

Images = tuple[Tensor, Tensor]
"""uint8 images (N, C, H, W) in 0..255, and targets: classes (N,) or dense labels (N, H, W)."""

Augment = Callable[[Tensor, np.random.Generator], Tensor]
"""(a batch of images, a random generator) -> the changed batch."""


class Shard(NamedTuple):
    """Which part of every batch a process takes: part `rank` of `ranks` of the same size.

    The parts of a batch that cannot be divided differ by one image; the last can be empty.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, x: Tensor) -> Tensor:
        """The part of a tensor with an entry per image."""
        return x.tensor_split(self.ranks)[self.rank]


class ImageDataset(Dataset[Images]):
    """Images in memory; one index selects a whole batch.

    Args:
        images: uint8 (N, C, H, W).
        target: classes (N,) or dense labels (N, H, W).
        augment: changes a batch of training images, drawing from the generator it is given.
    """

    def __init__(self, images: Tensor, target: Tensor, augment: Augment | None = None) -> None:
        self.images = images
        self.target = target
        self.augment = augment

    def __len__(self) -> int:
        return len(self.images)

    def batch(
        self, index: Tensor | slice, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """Some images, unaugmented, in the form that a network takes, and int64 targets."""
        return network_input(self.images[index], dtype), self.target[index].long()

    def __getitem__(self, batch: tuple[Tensor, np.random.Generator]) -> Images:
        index, generator = batch
        images = self.images[index]
        return (self.augment(images, generator) if self.augment else images), self.target[index]


class EpochBatches(Sampler[tuple[Tensor, np.random.Generator]]):
    """The batches of an epoch: each has its indices and a generator for its random changes.

    The order depends on (seed, epoch) alone, and each generator on (seed, epoch, batch) alone.

    Args:
        size: number of images.
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        seed: seed of the order and of the generators.
        shuffle: whether the order is random.
    """

    def __init__(self, size: int, batch_size: int, seed: int, *, shuffle: bool) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0
        self.position = (0, 0)  # an epoch, and how many of its batches are done already

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that determines the order; Lightning calls this before every epoch."""
        self.epoch = epoch

    @property
    def done(self) -> int:
        """The number of batches of the epoch that are left out, because they are done already."""
        epoch, batches = self.position
        return batches if epoch == self.epoch else 0

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, np.random.Generator]]:
        # numpy mixes the numbers well; torch's CPU generator uses only 32 bits of a seed
        epoch = np.random.default_rng((self.seed, self.epoch))
        order = epoch.permutation(self.size) if self.shuffle else np.arange(self.size)
        size = min(self.batch_size, self.size)
        batches = enumerate(torch.split(torch.from_numpy(order), size))
        for number, index in islice(batches, self.done, None):
            yield index, np.random.default_rng((self.seed, self.epoch, number))


class EpochLoader(DataLoader[Images]):
    """Loads the batches of `EpochBatches`; can go on within an epoch, at the next batch.

    Lightning keeps the state of such a loader in its checkpoints.

    Args:
        dataset: the images.
        batches: the batches of an epoch, those of all processes together.
        shard: the part of each that is this process's. It is taken after the random changes, which
            thus do not depend on the number of processes.
    """

    sampler: EpochBatches

    def __init__(
        self, dataset: ImageDataset, batches: EpochBatches, shard: Shard | None = None
    ) -> None:
        # With batch_size=None the sampler's indices select a whole batch from the tensors at once.
        # The loader has its own generator because it draws a number from it every epoch.
        super().__init__(dataset, batch_size=None, sampler=batches, generator=torch.Generator())
        self.shard = shard or Shard()
        self._reached = (0, 0)

    def __iter__(self) -> Iterator[Images]:  # type: ignore[override]
        # Lightning sets the epoch after it has called iter, before it asks for the first batch
        for number, batch in enumerate(super().__iter__(), self.sampler.done + 1):
            self._reached = (self.sampler.epoch, number)
            images, target = batch
            yield self.shard.of(images), self.shard.of(target)

    def state_dict(self) -> dict[str, int]:
        epoch, batches = self._reached
        return {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._reached = self.sampler.position = (state["epoch"], state["batches"])
