"""Parts of a run as a user would write them."""

import torch
from torch import Tensor, nn


class BatchNormNet(nn.Module):
    """Counts its batches in a buffer of whole numbers."""

    def __init__(
        self, in_channels: int, image_size: tuple[int, int], num_classes: int, dense: bool
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, num_classes)
        self.register_buffer("mask", torch.ones(4, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(x).amax((2, 3)).where(self.get_buffer("mask"), 0))
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
