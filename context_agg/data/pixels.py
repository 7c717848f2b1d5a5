"""The one way from an image's bytes to what a network takes."""

import torch
from torch import Tensor


def network_input(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bytes 0..255 -> numbers 0..1, on the device where the bytes are."""
    return images.to(dtype) / 255
