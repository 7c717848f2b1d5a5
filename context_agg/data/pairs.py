"""Images of any size with a label for every pixel, in memory or read when they are needed."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from torch import Tensor

from context_agg.cli.errors import sentence
from context_agg.data.batches import BadFileError, BatchDataset, Images
from context_agg.data.views import Pair, RandomView, together


class PairDataset(BatchDataset):
    """Images with a label for every pixel.

    Args:
        pairs: images, uint8 (C, H, W), with their labels, uint8 (H, W), below the number of
            classes or `VOID`; or functions that read them.
        sizes: height and width of each.
        view: what is seen of a training image, at random.

    Raises:
        BadFileError: from whatever reads an image, if that cannot be done.
    """

    def __init__(
        self,
        pairs: Sequence[Pair | Callable[[], Pair]],
        sizes: Sequence[tuple[int, int]],
        view: RandomView | None = None,
    ) -> None:
        self.pairs = pairs
        self.sizes = sizes
        self.view = view

    @property
    def image_size(self) -> tuple[int, int]:
        return (self.view.crop if self.view else None) or self.sizes[0]

    @property
    def finite(self) -> bool:
        return self.view is None or self.view.finite

    @property
    def one_size(self) -> bool:
        return bool(self.view and self.view.crop) or len(set(self.sizes)) == 1

    @property
    def kinds(self) -> Sequence[Hashable]:
        return self.sizes

    @property
    def streams(self) -> bool:
        return any(callable(pair) for pair in self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def stored(self, index: Tensor | slice) -> Images:
        chosen = range(len(self))[index] if isinstance(index, slice) else index.tolist()
        return together([self._pair(number) for number in chosen])

    def first(self, count: int) -> "PairDataset":
        return PairDataset(self.pairs[:count], self.sizes[:count])

    def joined(self, other: BatchDataset) -> "PairDataset":
        assert isinstance(other, PairDataset)
        return PairDataset([*self.pairs, *other.pairs], [*self.sizes, *other.sizes], self.view)

    def __getitem__(self, batch: tuple[Tensor, np.random.Generator]) -> Images:
        index, generator = batch
        pairs = [self._pair(number) for number in index.tolist()]
        if self.view is not None:
            pairs = [self.view(pair, generator) for pair in pairs]
        return together(pairs)

    def _pair(self, number: int) -> Pair:
        pair = self.pairs[number]
        if not callable(pair):
            return pair
        try:
            return pair()
        except (OSError, ValueError) as error:
            raise BadFileError(sentence(error)) from error
