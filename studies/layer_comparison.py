"""Compares three ways to widen the receptive field: pooling, large kernels, dilation."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from context_agg.analysis.receptive_field import input_gradient, support


@dataclass(frozen=True)
class Measured:
    """The measurements of a stack of layers.

    Attributes:
        name: name of the stack.
        receptive_field: side of the receptive field, measured by gradient, in pixels.
        resolution: number of output positions divided by number of input positions.
        parameters: number of weights and biases.
        milliseconds: median time of one forward pass.
    """

    name: str
    receptive_field: int
    resolution: float
    parameters: int
    milliseconds: float


def compare_layers(channels: int = 8, size: int = 64, repeats: int = 20) -> list[Measured]:
    """Measures four stacks of three convolutions: plain, pooling, large kernels, dilated."""

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
