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
