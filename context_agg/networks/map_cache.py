"""Keeps the class maps that a frozen front end makes, so that no image is computed twice."""

import hashlib
from itertools import chain

import torch
from torch import Tensor, nn


class MapCache:
    """Calls a front end only for images that it has not seen yet; keeps its maps in memory.

    A map is found by what made it: the bytes of the image, which differ between an image and its
    mirror image, and the state of the weights. Once the weights change, all is forgotten. Each
    image is computed by itself, so its map does not depend on what else is in the batch.

    Args:
        front_end: makes class maps (N, K, h, w) of images (N, C, H, W).
    """

    def __init__(self, front_end: nn.Module) -> None:
        self.front_end = front_end
        self.maps: dict[tuple[torch.Size, bytes], Tensor] = {}
        self.weights: list[tuple[int, int]] = []

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, x: Tensor) -> Tensor:
        tensors = chain(self.front_end.parameters(), self.front_end.buffers())
        weights = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if weights != self.weights:
            self.maps, self.weights = {}, weights
        return torch.cat([self._map(image) for image in torch.split(x, 1)])

    def _map(self, image: Tensor) -> Tensor:
        pixels = image.cpu().numpy()
        key = image.shape, hashlib.sha256(pixels.tobytes()).digest()
        if key not in self.maps:
            # a map made in inference mode could not be used in training
            with torch.inference_mode(False), torch.no_grad():
                self.maps[key] = self.front_end(image)
        return self.maps[key]
