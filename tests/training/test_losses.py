"""The losses against values by hand and other formulas."""

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from context_agg.training.class_weights import class_frequencies, median_frequency
from context_agg.training.losses import BinaryCrossEntropyOnSoftmax, WeightedCrossEntropy


def test_binary_cross_entropy_on_softmax_by_hand() -> None:
    """p = (1/2, 1/4, 1/4) and (1/4, 1/4, 1/2), with targets 0 and 1."""
    logits = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 2.0]]).log()
    first = -math.log(1 / 2) - 2 * math.log(3 / 4)
    second = -math.log(1 / 4) - math.log(3 / 4) - math.log(1 / 2)
    loss = BinaryCrossEntropyOnSoftmax()(logits, torch.tensor([0, 1]))
    assert float(loss) == pytest.approx((first + second) / 2)


def test_binary_cross_entropy_on_softmax_by_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda z: BinaryCrossEntropyOnSoftmax()(z, target), logits)


def test_binary_cross_entropy_on_softmax_far_from_the_middle() -> None:
    """p of the wrong class is 1 to eight digits: -log p and -log(1 - p) are 20 each."""
    logits = torch.tensor([[20.0, 0.0, -20.0]], requires_grad=True)
    loss = BinaryCrossEntropyOnSoftmax()(logits, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(40)
    assert logits.grad is not None
    assert logits.grad.tolist()[0] == pytest.approx([2, -2, -4e-9], abs=1e-7)


# cross-entropy with weights


def pixels() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of 3 classes for two images of 4x5 pixels, some of them void."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)
    target[0, :2], target[1, 3, 2:] = 255, 255
    return logits, target


def test_weighted_cross_entropy_pixel_by_pixel() -> None:
    logits, target = pixels()
    weights = [0.5, 2.0, 0.25]
    total = divisor = 0.0
    for image, labels in zip(logits.tolist(), target.tolist(), strict=True):
        for i in range(4):
            for j in range(5):
                if (label := labels[i][j]) != 255:
                    scores = [image[k][i][j] for k in range(3)]
                    log_p = scores[label] - math.log(sum(math.exp(score) for score in scores))
                    total -= weights[label] * log_p
                    divisor += weights[label]
    loss = WeightedCrossEntropy(weights)(logits, target)
    assert float(loss) == pytest.approx(total / divisor, rel=1e-12)
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(weights).double(), ignore_index=255)
    torch.testing.assert_close(loss, theirs(logits, target))


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [7.5, 7.5, 7.5]])
def test_weights_that_are_alike_change_nothing(weights: list[float] | None) -> None:
    logits, target = pixels()
    expected = F.cross_entropy(logits, target, ignore_index=255)
    torch.testing.assert_close(WeightedCrossEntropy(weights)(logits, target), expected)


def test_weighted_cross_entropy_of_whole_images() -> None:
    logits, target = torch.randn(6, 3), torch.tensor([0, 2, 1, 1, 255, 0])
    weights = torch.tensor([1.0, 3.0, 0.0])
    expected = F.cross_entropy(logits, target, weights, ignore_index=255)
    torch.testing.assert_close(WeightedCrossEntropy([1, 3, 0])(logits, target), expected)


@pytest.mark.parametrize(("weights", "label"), [(None, 255), ([1, 2, 3], 255), ([0, 1, 1], 0)])
def test_a_batch_in_which_nothing_counts_has_a_loss_of_zero(
    weights: list[float] | None, label: int
) -> None:
    logits = torch.randn(1, 3, 4, 5, requires_grad=True)
    loss = WeightedCrossEntropy(weights)(logits, torch.full((1, 4, 5), label))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_batches_of_as_many_pixels_accumulate_to_the_gradient_of_the_whole() -> None:
    """With other numbers of pixels each batch counts alike, not each pixel."""
    logits, target = pixels()
    target[:] = target.clamp(max=2)
    target[:, 0] = 255  # of both images

    def gradients(parts: list[slice]) -> torch.Tensor:
        leaf = logits.clone().requires_grad_()
        for part in parts:
            (WeightedCrossEntropy()(leaf[part], target[part]) / len(parts)).backward()
        assert leaf.grad is not None
        return leaf.grad

    whole, halves = [slice(None)], [slice(0, 1), slice(1, 2)]
    torch.testing.assert_close(gradients(halves), gradients(whole), rtol=1e-12, atol=1e-15)
    target[0, 1] = 255
    expected = gradients(whole)
    expected[0] *= (10 + 15) / (2 * 10)  # 25 pixels count, of which 10 are in the first image
    expected[1] *= (10 + 15) / (2 * 15)
    torch.testing.assert_close(gradients(halves), expected, rtol=1e-12, atol=1e-15)


def test_class_frequencies_by_hand() -> None:
    """Class 0 is in both images, class 1 in the first, class 2 in the second, class 3 in none."""
    images = [torch.tensor([[0, 0, 1], [0, 255, 255]]), torch.tensor([[0, 2], [2, 2]]).byte()]
    found = class_frequencies(images, 4)
    assert found[:3].tolist() == [4 / 8, 1 / 4, 3 / 4]
    assert found[3].isnan()
    assert median_frequency(found).tolist() == [1, 2, pytest.approx(2 / 3), 0]


def test_the_median_of_an_even_number_is_the_mean_of_the_middle_two() -> None:
    found = median_frequency(torch.tensor([0.1, 0.4, 0.2, 0.8], dtype=torch.float64))
    assert found.tolist() == pytest.approx([3, 0.75, 1.5, 0.375])


def test_a_loss_is_balanced_by_the_frequencies() -> None:
    logits, target = pixels()
    loss = WeightedCrossEntropy("median_frequency")
    with pytest.raises(ValueError, match="the frequencies are not known yet"):
        loss(logits, target)
    loss.balance(torch.tensor([0.5, 0.25, 0.125], dtype=torch.float64))
    expected = WeightedCrossEntropy([0.5, 1, 2])(logits, target)
    torch.testing.assert_close(loss(logits, target), expected)


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ("median", "unknown class_weights='median'; choose one of median_frequency"),
        ([1, -1, 1], "class_weights=-1 must be a finite number, 0 or more"),
        ([0, 0], "class_weights=[0, 0] leave no class that counts"),
        ([1, 2], "class_weights: there are 2 for 3 classes"),
    ],
)
def test_class_weights_that_cannot_be_are_refused(weights: Any, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        WeightedCrossEntropy(weights)(*pixels())
