"""Losses that torch does not have."""

import torch.nn.functional as F
from torch import Tensor, nn


class BinaryCrossEntropyOnSoftmax(nn.Module):
    """-sum_k (t_k log p_k + (1 - t_k) log(1 - p_k)) of p = softmax(logits), mean over the batch.

    The cost of the 2018 post's drafts: every class counts as a yes-or-no question, though the
    probabilities sum to 1. Their head bounds the logits, so p is never 0 or 1.

    Shape: logits (N, K), target (N,) -> scalar.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        p = logits.softmax(1)
        wanted = F.one_hot(target, logits.shape[1]).to(p.dtype)
        return F.binary_cross_entropy(p, wanted, reduction="sum") / len(target)
