"""Three ways to see more, measured: pooling, large kernels, dilation."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from context_agg.analysis.receptive_field import input_gradient, support


@dataclass(frozen=True)
class Measured:
    """What a stack of layers is like.

    Attributes:
        name: of the stack.
        receptive_field: side of what one output sees, by gradient, in pixels.
        resolution: share of the input's positions that the output has.
        parameters: weights and biases.
        milliseconds: of one forward pass, median.
    """

    name: str
    receptive_field: int
    resolution: float
    parameters: int
    milliseconds: float


def compare_layers(channels: int = 8, size: int = 64, repeats: int = 20) -> list[Measured]:
    """Four stacks of three convolutions, measured: plain, pooling, large kernels, dilated."""

    def conv(kernel: int, dilation: int = 1) -> nn.Module:
        margin = dilation * (kernel // 2)
        return nn.Conv2d(channels, channels, kernel, padding=margin, dilation=dilation)

    stacks: dict[str, Callable[[], list[nn.Module]]] = {
        "3x3": lambda: [conv(3), conv(3), conv(3)],
        "3x3 with pooling": lambda: [conv(3), nn.AvgPool2d(2), conv(3), nn.AvgPool2d(2), conv(3)],
        "large kernels": lambda: [conv(3), conv(5), conv(9)],
        "dilated 1 2 4": lambda: [conv(3), conv(3, 2), conv(3, 4)],
    }
    x = torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(0))
    results = []
    for name, layers in stacks.items():
        torch.manual_seed(0)
        stack = nn.Sequential(*layers())
        y = stack(x)
        seconds = []
        with torch.inference_mode():
            for _ in range(repeats):
                start = time.perf_counter()
                stack(x)
                seconds.append(time.perf_counter() - start)
        seen = support(input_gradient(stack, x, torch.Generator().manual_seed(0)))
        results.append(
            Measured(
                name,
                max(seen),
                y[0, 0].numel() / x[0, 0].numel(),
                sum(parameter.numel() for parameter in stack.parameters()),
                1000 * float(np.median(seconds)),
            )
        )
    return results
