"""The one way to turn an image's bytes into the input of a network."""

import torch
from torch import Tensor


def network_input(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Scales bytes 0..255 to numbers 0..1, on the same device."""
    return images.to(dtype) / 255
