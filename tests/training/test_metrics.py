"""Intersection over union against its definition with sets of pixels, in numpy."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from context_agg.data.spec import VOID
from context_agg.training.metrics import MeanIoU


def by_definition(predicted: np.ndarray, truth: np.ndarray, classes: int) -> list[float]:
    counted = truth != VOID
    ious = []
    for label in range(classes):
        a, b = (predicted == label) & counted, (truth == label) & counted
        ious.append((a & b).sum() / (a | b).sum() if (a | b).any() else np.nan)
    return ious


@settings(deadline=None, max_examples=60)
@given(
    classes=st.integers(2, 6),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 7)),
    void=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_it_is_what_its_name_says(
    classes: int, shape: tuple[int, int, int], void: float, seed: int
) -> None:
    """Holds image by image, for classes that do not occur, and if all pixels are void."""
    generator = np.random.default_rng(seed)
    predicted = generator.integers(0, classes, shape)
    truth = generator.integers(0, generator.integers(1, classes + 1), shape)
    truth[generator.random(shape) < void] = VOID
    metric = MeanIoU(classes)
    for a, b in zip(predicted, truth, strict=True):
        metric.update(torch.from_numpy(a)[None], torch.from_numpy(b)[None])
    mean = metric.compute()
    expected = by_definition(predicted, truth, classes)
    np.testing.assert_array_equal(metric.per_class.numpy(), expected)
    there = [iou for iou in expected if iou == iou]
    np.testing.assert_allclose(mean, np.mean(there) if there else np.nan)


def test_logits_count_by_their_largest() -> None:
    logits = torch.tensor([[[[3.0, 0]], [[1, 2]]]])  # classes 0 and 1 for two pixels
    metric = MeanIoU(2)
    metric.update(logits, torch.tensor([[[0, 0]]]))
    assert metric.compute() == 0.25
    assert metric.per_class.tolist() == [0.5, 0.0]


def test_counts_stay_exact_beyond_what_float32_holds() -> None:
    metric = MeanIoU(2)
    image = torch.zeros(1, 3000, 3000, dtype=torch.int64)
    for _ in range(2):
        metric.update(image, image)
    one = torch.zeros(1, 1, 1, dtype=torch.int64)
    metric.update(one + 1, one)
    metric.compute()
    assert metric.per_class[0].item() == 18_000_000 / 18_000_001
