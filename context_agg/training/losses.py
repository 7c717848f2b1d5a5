"""Losses that torch does not have."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from context_agg.data.spec import VOID
from context_agg.ops.checks import check_choice, check_number
from context_agg.training.class_weights import median_frequency

MEDIAN_FREQUENCY = "median_frequency"


class BinaryCrossEntropyOnSoftmax(nn.Module):
    """-sum_k (t_k log p_k + (1 - t_k) log(1 - p_k)) of p = softmax(logits), mean over the batch.

    This is the cost in the 2018 post's drafts: every class is a yes-or-no question, although the
    probabilities sum to 1. It is computed from the logits, as 1 - p loses all digits near p = 1.

    Shape: logits (N, K), target (N,) -> scalar.

    Raises:
        ValueError: for dense logits.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        if logits.dim() != 2:
            raise ValueError("loss=binary_on_softmax needs a class per image, not one per pixel")
        classes = logits.shape[1]
        same = torch.eye(classes, dtype=torch.bool, device=logits.device)
        others = logits[:, None, :].masked_fill(same, -torch.inf).logsumexp(2)
        log_not = others - logits.logsumexp(1, keepdim=True)  # log(1 - p_k)
        wanted = F.one_hot(target, classes).bool()
        return -torch.where(wanted, logits.log_softmax(1), log_not).sum() / len(target)


class WeightedCrossEntropy(nn.Module):
    """The mean of -w_t log p_t over pixels or images, weighted by w: the sum over sum w_t.

    So weights that are all alike change nothing, whatever they are. Without any target that counts
    the loss is 0, and so are its gradients; torch's would be NaN.

    Args:
        class_weights: a weight for each class; "median_frequency": by median frequency balancing of
            the training data, which `balance` is given; None: 1 for each.
        ignore_index: the label that does not count.

    Shape: logits (N, K) or (N, K, H, W), target (N,) or (N, H, W) -> scalar.

    Raises:
        ValueError: for weights that are negative, not as many as classes, or not known yet.
    """

    weight: Tensor | None

    def __init__(
        self, class_weights: Sequence[float] | str | None = None, ignore_index: int = VOID
    ) -> None:
        super().__init__()
        self.from_data = isinstance(class_weights, str)
        self.ignore_index = ignore_index
        weight = None
        if isinstance(class_weights, str):
            check_choice("class_weights", class_weights, (MEDIAN_FREQUENCY,))
        elif class_weights is not None:
            for value in class_weights:
                check_number("class_weights", value, 0)
            if not any(class_weights):
                raise ValueError(f"class_weights={list(class_weights)} leave no class that counts")
            weight = torch.tensor(list(class_weights), dtype=torch.float32)
        self.register_buffer("weight", weight)

    def balance(self, frequencies: Tensor) -> None:
        """Sets the weights by how frequent each class is, as `class_frequencies` counts it."""
        self.weight = median_frequency(frequencies).float()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        weight = self.weight
        if weight is None and self.from_data:
            raise ValueError("class_weights=median_frequency: the frequencies are not known yet")
        if weight is not None:
            if len(weight) != logits.shape[1]:
                raise ValueError(
                    f"class_weights: there are {len(weight)} for {logits.shape[1]} classes"
                )
            weight = weight.to(logits)
        total = F.cross_entropy(
            logits, target, weight, ignore_index=self.ignore_index, reduction="sum"
        )
        counts = target != self.ignore_index
        if weight is None:
            divisor = counts.sum().to(total)
        else:
            divisor = torch.where(counts, weight[torch.where(counts, target, 0)], 0).sum()
        return total / torch.where(divisor > 0, divisor, 1)
