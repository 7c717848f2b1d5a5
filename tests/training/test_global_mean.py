"""The loss of a batch that lies with several processes, against that of the whole batch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from context_agg.data.spec import VOID
from context_agg.training import global_mean
from context_agg.training.global_mean import share_of_mean
from context_agg.training.losses import BinaryCrossEntropyOnSoftmax, WeightedCrossEntropy
from context_agg.training.metrics import MeanLoss

CLASSES = 4


@pytest.fixture
def shares(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[Tensor, Tensor | int]]]:
    """Computes the shares of several processes one after another, in this one."""

    def compute(
        loss: nn.Module, logits: list[Tensor], targets: list[Tensor]
    ) -> list[tuple[Tensor, Tensor | int]]:
        seen: list[Tensor] = []

        def keep(counts: Tensor) -> Tensor:
            seen.append(counts)
            return counts

        monkeypatch.setattr(global_mean, "processes", lambda: len(logits))
        monkeypatch.setattr(global_mean, "total", keep)
        for part, target in zip(logits, targets, strict=True):
            share_of_mean(loss, part, target)
        everywhere = torch.stack(seen).sum(0)
        monkeypatch.setattr(global_mean, "total", lambda counts: everywhere)
        return [
            share_of_mean(loss, part, target) for part, target in zip(logits, targets, strict=True)
        ]

    return compute


def dense_parts(sizes: list[int]) -> tuple[list[Tensor], list[Tensor]]:
    """Logits and targets of parts of these sizes; in some images, nearly all pixels are void."""
    generator = torch.Generator().manual_seed(3)
    logits = [
        torch.randn(size, CLASSES, 5, 7, generator=generator, dtype=torch.float64) for size in sizes
    ]
    targets = [torch.randint(0, CLASSES, (size, 5, 7), generator=generator) for size in sizes]
    for target in targets:
        target[::2, 1:] = VOID
    return [part.requires_grad_() for part in logits], targets


@pytest.mark.parametrize("sizes", [[3, 3], [4, 1], [5, 2, 0], [0, 1]], ids=str)
@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(ignore_index=VOID),
        nn.CrossEntropyLoss(ignore_index=VOID, label_smoothing=0.1),
        WeightedCrossEntropy([0.5, 2, 0, 3]),
    ],
    ids=["plain", "smoothed", "weighted"],
)
def test_shares_and_their_gradients_average_to_those_of_the_whole_batch(
    loss: nn.Module, sizes: list[int], shares: Callable[..., list[tuple[Tensor, Tensor | int]]]
) -> None:
    logits, targets = dense_parts(sizes)
    parts = [share for share, _ in shares(loss, logits, targets)]
    whole = torch.cat([part.detach() for part in logits]).requires_grad_()
    expected = loss(whole, torch.cat(targets))
    expected.backward()
    mean = torch.stack(parts).mean()
    mean.backward()
    assert mean.item() == pytest.approx(expected.item(), rel=1e-13)
    gradient = torch.cat([part.grad for part in logits if part.grad is not None])
    assert torch.allclose(gradient, whole.grad, rtol=1e-12, atol=1e-16)


def test_a_process_whose_pixels_are_all_void_takes_part_with_nothing(
    shares: Callable[..., list[tuple[Tensor, Tensor | int]]],
) -> None:
    loss = nn.CrossEntropyLoss(ignore_index=VOID)
    logits, targets = dense_parts([2, 2])
    targets[1][:] = VOID
    (first, _), (second, _) = shares(loss, logits, targets)
    ((first + second) / 2).backward()
    assert second.item() == 0
    assert logits[1].grad is not None
    assert not logits[1].grad.any()
    assert first.item() / 2 == pytest.approx(loss(logits[0], targets[0]).item(), rel=1e-13)


def test_classes_of_images_are_averaged_over_the_images_of_all(
    shares: Callable[..., list[tuple[Tensor, Tensor | int]]],
) -> None:
    loss = BinaryCrossEntropyOnSoftmax()
    logits = [torch.randn(size, CLASSES, dtype=torch.float64) for size in (5, 2, 0)]
    targets = [torch.randint(0, CLASSES, (size,)) for size in (5, 2, 0)]
    results = shares(loss, logits, targets)
    expected = float(loss(torch.cat(logits), torch.cat(targets)))
    mean = torch.stack([share for share, _ in results]).mean()
    assert mean.item() == pytest.approx(expected, rel=1e-13)


def test_a_loss_that_is_not_finite_stays_so(
    shares: Callable[..., list[tuple[Tensor, Tensor | int]]],
) -> None:
    logits, targets = dense_parts([2, 2])
    broken = [logits[0].detach().fill_(torch.nan), logits[1].detach()]
    first, _ = shares(nn.CrossEntropyLoss(ignore_index=VOID), broken, targets)[0]
    assert first.isnan()


def test_the_mean_loss_of_an_epoch_is_that_of_one_process(
    shares: Callable[..., list[tuple[Tensor, Tensor | int]]],
) -> None:
    """Batches of 7 and 3 images, each in three parts; an epoch's sums are added over processes."""
    loss = nn.CrossEntropyLoss(ignore_index=VOID)
    alone, processes = MeanLoss(), [MeanLoss() for _ in range(3)]
    for sizes in ([3, 2, 2], [2, 1, 0]):
        logits, targets = dense_parts(sizes)
        alone.update(loss(torch.cat(logits), torch.cat(targets)), sum(sizes))
        results = shares(loss, logits, targets)
        for metric, (share, images) in zip(processes, results, strict=True):
            metric.update(share, images)
    losses = torch.stack([metric.total for metric in processes]).sum()
    seen = torch.stack([metric.images for metric in processes]).sum()
    assert seen.item() == 10
    assert (losses / seen).item() == pytest.approx(alone.compute().item(), rel=1e-13)


def test_one_process_gets_the_loss_itself() -> None:
    logits, targets = dense_parts([3])
    loss = nn.CrossEntropyLoss(ignore_index=VOID)
    share, images = share_of_mean(loss, logits[0], targets[0])
    assert torch.equal(share, loss(logits[0], targets[0]))
    assert images == 3
