"""The parts of a batch that several processes take."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from context_agg.data.augment import RandomAffine
from context_agg.data.batches import EpochBatches, EpochLoader, ImageDataset, Shard
from context_agg.data.images import ImageData

Batches = list[tuple[Tensor, Tensor]]


def epoch(size: int, batch_size: int, shard: Shard, *, done: int = 0) -> Batches:
    """The batches of the third epoch; the target of an image is its number."""
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (size, 1, 8, 9), np.uint8))
    dataset = ImageDataset(images, torch.arange(size), RandomAffine(2, 30.0, 0.2, side=8))
    batches = EpochBatches(size, batch_size * shard.ranks, 5, shuffle=True)
    batches.set_epoch(2)
    loader = EpochLoader(dataset, batches, shard=shard)
    loader.load_state_dict({"epoch": 2, "batches": done})
    return list(loader)


@given(size=st.integers(1, 40), batch_size=st.integers(1, 9), ranks=st.integers(1, 5))
def test_the_parts_are_together_the_batches_of_one_process(
    size: int, batch_size: int, ranks: int
) -> None:
    """Order, random changes and all: no image is left out, none comes twice."""
    whole = epoch(size, batch_size * ranks, Shard())
    parts = [epoch(size, batch_size, Shard(rank, ranks)) for rank in range(ranks)]
    assert {len(part) for part in parts} == {len(whole)}
    for number, (images, target) in enumerate(whole):
        assert torch.equal(torch.cat([part[number][0] for part in parts]), images)
        assert torch.equal(torch.cat([part[number][1] for part in parts]), target)
        sizes = [len(part[number][1]) for part in parts]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1


def test_a_last_batch_of_fewer_images_than_processes_leaves_some_without() -> None:
    parts = [epoch(14, 4, Shard(rank, 3)) for rank in range(3)]
    assert [[len(target) for _, target in part] for part in parts] == [[4, 1], [4, 1], [4, 0]]
    assert parts[2][1][0].shape == (0, 1, 8, 9)


def test_a_part_goes_on_within_an_epoch() -> None:
    whole, rest = epoch(30, 4, Shard(1, 2)), epoch(30, 4, Shard(1, 2), done=3)
    assert len(rest) == 1
    assert torch.equal(rest[0][0], whole[3][0])


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_every_set_of_the_data_is_shared(part: str) -> None:
    def loaded(shard: Shard) -> set[float]:
        data.shard = shard
        loader: Callable[[], Batches] = getattr(data, f"{part}_dataloader")
        return {float(image) for images, _ in loader() for image in images[:, 0, 0, 0]}

    def numbered(first: int, count: int) -> tuple[Tensor, Tensor]:
        images = torch.arange(first, first + count, dtype=torch.uint8).view(-1, 1, 1, 1)
        return images.expand(-1, 1, 4, 4), torch.zeros(count, dtype=torch.long)

    data = ImageData(
        numbered(0, 23), numbered(50, 11), numbered(90, 7), name="numbers", classes=["number"],
        batch_size=2, held_out="validation", seed=0,
    )  # fmt: skip
    first, second = loaded(Shard(0, 2)), loaded(Shard(1, 2))
    assert not first & second
    assert first | second == loaded(Shard())
