"""The mean loss of a batch whose images lie with several processes."""

from collections.abc import Callable

import torch
from torch import Tensor

from context_agg.data.spec import VOID
from context_agg.training.collectives import processes, total

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits, target) -> scalar, the mean over the images, or over the pixels that are not void.

If it has a `weight` for every class, as torch's losses do, the mean is weighted by that.
"""


def share_of_mean(loss: Loss, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor | int]:
    """This process's share of the mean loss of the whole batch; the shares average to that mean.

    DDP averages the gradients of the processes, which thus are those of the whole batch, however
    many images and void pixels each process has. One that has none takes part with a share of 0.

    Returns:
        The share, and how many images of the batch a process has on average.
    """
    mean = loss(logits, target)
    if processes() == 1:
        return mean, len(target)
    classes = target[target != VOID]
    weight = getattr(loss, "weight", None)
    own = classes.new_tensor(len(classes)) if weight is None else weight.double()[classes].sum()
    counts = torch.stack([own.double(), own.new_tensor(len(target)).double()])
    counted, images = total(counts) / processes()
    share = torch.where(own > 0, mean, 0) * (own / counted).to(mean.dtype)
    return share, images
