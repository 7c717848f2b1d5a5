"""What a network sees of an image: its bytes as numbers, and what lies beyond its borders."""

import torch
from torch import Tensor


def network_input(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Scales bytes 0..255 to numbers 0..1, on the same device."""
    return images.to(dtype) / 255


def reflected(places: Tensor, side: int) -> Tensor:
    """The pixels, 0 to side - 1, that places along an axis show, inside the image or beyond it.

    They go there and back like a light between two mirrors; the border pixels are not repeated.
    """
    period = max(2 * (side - 1), 1)
    place = places % period
    return torch.where(place < side, place, period - place)
