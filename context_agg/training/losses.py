"""Losses that torch does not have."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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
