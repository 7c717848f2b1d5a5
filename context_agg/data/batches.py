"""Batches of a data set, picked by index; their order and random changes follow from the seed."""

import atexit
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from context_agg.cli.signals import ENDING
from context_agg.data.pixels import network_input

Images = tuple[Tensor, Tensor]
"""uint8 images (N, C, H, W) in 0..255, and targets: classes (N,) or dense labels (N, H, W)."""

Augment = Callable[[Tensor, np.random.Generator], Tensor]
"""(a batch of images, a random generator) -> the changed batch."""


class BadFileError(ValueError):
    """An image or a mask that is read when it is needed is not there, damaged, or wrong."""


class Shard(NamedTuple):
    """Which part of every batch a process takes: part `rank` of `ranks` of the same size.

    The parts of a batch that cannot be divided differ by one image; the last can be empty.
    """

    rank: int = 0
    ranks: int = 1

    def of(self, x: Tensor) -> Tensor:
        """The part of a tensor with an entry per image."""
        return x.tensor_split(self.ranks)[self.rank]


class BatchDataset(Dataset[Images], ABC):
    """A part of a data set; one index selects a whole batch."""

    @property
    @abstractmethod
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images in a batch."""

    @property
    @abstractmethod
    def finite(self) -> bool:
        """Whether an image has two random forms at most: itself and its mirror image."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def stored(self, index: Tensor | slice) -> Images:
        """Some images and their targets as they are, without random changes."""

    @abstractmethod
    def first(self, count: int) -> "BatchDataset":
        """The first images, without random changes."""

    @abstractmethod
    def joined(self, other: "BatchDataset") -> "BatchDataset":
        """These images and others of the same kind, all with the random changes of these."""

    @abstractmethod
    def __getitem__(self, batch: tuple[Tensor, np.random.Generator]) -> Images: ...

    @property
    def one_size(self) -> bool:
        """Whether any of the images, with their random changes, can be in one batch."""
        return True

    @property
    def kinds(self) -> Sequence[Hashable]:
        """What images must agree in to be in one batch; empty if they all do."""
        return ()

    @property
    def streams(self) -> bool:
        """Whether images are read from files when they are needed."""
        return False

    @property
    def images(self) -> Tensor:
        """All images, as bytes."""
        return self.stored(slice(None))[0]

    @property
    def target(self) -> Tensor:
        """All targets."""
        return self.stored(slice(None))[1]

    def batch(
        self, index: Tensor | slice, dtype: torch.dtype = torch.float32
    ) -> tuple[Tensor, Tensor]:
        """Some images as a network takes them, without random changes, and int64 targets."""
        images, target = self.stored(index)
        return network_input(images, dtype), target.long()


class ImageDataset(BatchDataset):
    """Images of one size in memory.

    Args:
        images: uint8 (N, C, H, W).
        target: classes (N,) or dense labels (N, H, W).
        augment: changes a batch of training images, drawing from the generator it is given.
    """

    def __init__(self, images: Tensor, target: Tensor, augment: Augment | None = None) -> None:
        self._images = images
        self._target = target
        self.augment = augment

    @property
    def image_size(self) -> tuple[int, int]:
        height, width = self._images.shape[2:]
        return height, width

    @property
    def finite(self) -> bool:
        return self.augment is None

    def __len__(self) -> int:
        return len(self._images)

    def stored(self, index: Tensor | slice) -> Images:
        return self._images[index], self._target[index]

    def first(self, count: int) -> "ImageDataset":
        return ImageDataset(*self.stored(slice(count)))

    def joined(self, other: BatchDataset) -> "ImageDataset":
        images, target = (
            torch.cat(parts) for parts in ((self.images, other.images), (self.target, other.target))
        )
        return ImageDataset(images, target, self.augment)

    def __getitem__(self, batch: tuple[Tensor, np.random.Generator]) -> Images:
        index, generator = batch
        images, target = self.stored(index)
        return (self.augment(images, generator) if self.augment else images), target


class EpochBatches(Sampler[tuple[Tensor, np.random.Generator]]):
    """The batches of an epoch: each has its indices and a generator for its random changes.

    The order depends on (seed, epoch) alone, and each generator on (seed, epoch, batch) alone.

    Args:
        size: number of images.
        batch_size: images in a batch; the last batch of an epoch may be smaller.
        seed: seed of the order and of the generators.
        shuffle: whether the order is random.
        kinds: without shuffling, a batch ends where the next image is of another kind.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        *,
        shuffle: bool,
        kinds: Sequence[Hashable] = (),
    ) -> None:
        self.size = size
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        alike = kinds if kinds and not shuffle else [None] * size
        lengths = [len(list(group)) for _, group in groupby(alike)]
        self.lengths = [
            min(batch_size, length - start)
            for length in lengths
            for start in range(0, length, batch_size)
        ]
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
        return len(self.lengths)

    def __iter__(self) -> Iterator[tuple[Tensor, np.random.Generator]]:
        # numpy mixes the numbers well; torch's CPU generator uses only 32 bits of a seed
        epoch = np.random.default_rng((self.seed, self.epoch))
        order = epoch.permutation(self.size) if self.shuffle else np.arange(self.size)
        batches = enumerate(torch.split(torch.from_numpy(order), self.lengths))
        for number, index in islice(batches, self.done, None):
            yield index, np.random.default_rng((self.seed, self.epoch, number))


class _Told(Dataset[Images | BadFileError]):
    """Batches, or what is wrong with a file of one; torch makes a stack trace of a worker's error.

    Args:
        dataset: where the batches come from.
    """

    def __init__(self, dataset: BatchDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, batch: tuple[Tensor, np.random.Generator]) -> Images | BadFileError:
        try:
            return self.dataset[batch]
        except BadFileError as problem:
            return problem


class EpochLoader(DataLoader[Images | BadFileError]):
    """Loads the batches of `EpochBatches`; can go on within an epoch, at the next batch.

    Lightning keeps the state of such a loader in its checkpoints. What a worker reads depends on
    what it is asked for alone, so the number of workers makes no difference.

    Args:
        dataset: the images.
        batches: the batches of an epoch, those of all processes together.
        workers: processes that read images; 0: this one.
        shard: the part of each batch that is this process's. It is taken after the random changes,
            which thus do not depend on the number of processes.

    Raises:
        BadFileError: at the batch that cannot be read, with the same words from every worker.
    """

    sampler: EpochBatches

    def __init__(
        self,
        dataset: BatchDataset,
        batches: EpochBatches,
        workers: int = 0,
        shard: Shard | None = None,
    ) -> None:
        # With batch_size=None the sampler's indices select a whole batch from the tensors at once.
        # The loader has its own generator because it draws a number from it every epoch.
        super().__init__(
            _Told(dataset),
            batch_size=None,
            sampler=batches,
            generator=torch.Generator(),
            num_workers=workers,
            worker_init_fn=_leave_signals,
        )
        self.shard = shard or Shard()
        self._reached = (0, 0)

    def __iter__(self) -> Iterator[Images]:  # type: ignore[override]
        # Lightning sets the epoch after it has called iter, before it asks for the first batch
        read = super().__iter__()
        _open.add(read)
        try:
            for number, batch in enumerate(read, self.sampler.done + 1):
                if isinstance(batch, BadFileError):
                    raise batch
                self._reached = (self.sampler.epoch, number)
                images, target = batch
                yield self.shard.of(images), self.shard.of(target)
        finally:
            _close(read)

    def state_dict(self) -> dict[str, int]:
        epoch, batches = self._reached
        return {"epoch": epoch, "batches": batches}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._reached = self.sampler.position = (state["epoch"], state["batches"])


_open: WeakSet[Any] = WeakSet()  # iterators of torch's loader


def _leave_signals(_: int) -> None:
    """Lets a worker ignore what ends a run: the run asks for batches until its last step is done.

    A worker ends when the run closes its loader, or when it sees that the run is gone.
    """
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _close(iterator: Any) -> None:
    """Ends the workers of torch's iterator, which the trace of an error can keep for long."""
    if hasattr(iterator, "_shutdown_workers"):  # else it has none
        iterator._shutdown_workers()


@atexit.register
def _close_all() -> None:
    """Python calls this before multiprocessing waits for all workers, after a SIGTERM to them."""
    for iterator in list(_open):
        _close(iterator)
