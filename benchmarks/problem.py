"""The network that all peers train, and its weights and images, as numpy arrays."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CLASSES = 10


class Convolution(NamedTuple):
    """One layer: input maps, output maps, side of the kernel, dilation."""

    in_channels: int
    out_channels: int
    side: int
    dilation: int


class Gradients(NamedTuple):
    """A loss, and its gradients, in the order and layout of the weights."""

    loss: float
    grads: list[Array]


class Loop(Protocol):
    """A peer's training loop. It is made from a problem and the weights that it starts at."""

    def check(self) -> Gradients:
        """The loss of the first batch, and its gradients, before any step."""

    def train(self, tick: Callable[[], None]) -> None:
        """Takes a step on every batch, and calls `tick` after each."""


@dataclass(frozen=True)
class Problem:
    """`model=basic` with Adam, on grey images of noise.

    Attributes:
        dilations: of the context module's 3x3 layers.
        channels: C.
        batch: images in a batch.
        side: height and width of an image.
        steps: batches, all of them different.
        threads: processors that a peer may use; None: all.
    """

    dilations: tuple[int, ...]
    channels: int = 16
    batch: int = 128
    side: int = 28
    steps: int = 1
    threads: int | None = None

    def with_steps(self, steps: int) -> Self:
        """The same with so many batches."""
        return replace(self, steps=steps)

    @property
    def convolutions(self) -> list[Convolution]:
        """The layers in front of the head; all but the last have a ReLU."""
        c = self.channels
        front_end = [] if c == 1 else [Convolution(1, c, 3, 1)]
        context = [Convolution(c, c, 3, dilation) for dilation in self.dilations]
        return [*front_end, *context, Convolution(c, c, 1, 1)]

    def weights(self) -> list[Array]:
        """Weight and bias of each layer and of the head, float32, in PyTorch's layout.

        They are as large as keeps the size of the maps.
        """
        random = np.random.default_rng(0)
        shapes = [(conv.out_channels, conv.in_channels, conv.side) for conv in self.convolutions]
        weights = []
        for shape in [
            *((k, c, side, side) for k, c, side in shapes),
            (CLASSES, self.channels * self.side**2),
        ]:
            inputs = np.prod(shape[1:])
            weights.append(random.normal(0, (2 / inputs) ** 0.5, shape).astype(np.float32))
            weights.append(random.normal(0, 0.1, shape[0]).astype(np.float32))
        return weights

    def images(self) -> Array:
        """Bytes (steps x batch, side, side)."""
        shape = (self.steps * self.batch, self.side, self.side)
        return np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)

    def targets(self) -> Array:
        """Classes (steps x batch,), int64."""
        return np.random.default_rng(2).integers(0, CLASSES, self.steps * self.batch)

    @property
    def multiply_adds(self) -> int:
        """Those of a step that a result depends on.

        Taps outside the image are left out, whatever a peer does there, and so is the gradient of
        the images.
        """
        head = 3 * CLASSES * self.channels * self.side**2
        layers = [multiply_adds(conv, self.side) for conv in self.convolutions]
        return self.batch * (head + 3 * sum(layers) - layers[0])


def multiply_adds(conv: Convolution, side: int) -> int:
    """Those of a layer's forward pass on one image, at taps inside it.

    The gradient of the weight needs as many, and so does that of the input.
    """
    half = conv.side // 2
    inside = sum(max(side - abs(tap * conv.dilation), 0) for tap in range(-half, half + 1))
    return conv.in_channels * conv.out_channels * inside**2
