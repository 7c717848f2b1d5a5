"""Parts of a run as a user would write them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy


class BatchNormNet(nn.Module):
    """Counts its batches in a buffer of whole numbers; another buffer is not saved."""

    def __init__(
        self, in_channels: int, image_size: tuple[int, int], num_classes: int, dense: bool
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, num_classes)
        self.register_buffer("mask", torch.ones(4, dtype=torch.bool))
        self.register_buffer("scale", torch.linspace(1, 2, 4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x) * self.get_buffer("scale")[:, None, None]
        logits: Tensor = self.head(maps.amax((2, 3)).where(self.get_buffer("mask"), 0))
        return logits


class TooFew(BatchNormNet):
    """Gives two numbers, whatever the number of classes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :2]


class Pair(BatchNormNet):
    """Gives its logits twice."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), super().forward(x)


class LooksAtNumbers(BatchNormNet):
    """Cannot run where tensors have no content."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * float(x.mean() + 1)


class Sign(torch.optim.SGD):
    """Takes a learning rate and nothing else."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)


class Smooth(nn.Module):
    """A loss with another argument than cross-entropy's."""

    def __init__(self, smoothing: float = 0.1) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(logits, target, label_smoothing=self.smoothing)
