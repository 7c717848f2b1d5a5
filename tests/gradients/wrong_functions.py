"""Backward passes with a slip in each, as their authors would write them.

Beside each stand its inputs, the same function for autograd, and what the diagnosis has to say of
which gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
import torch.nn.grad as of
from torch import Tensor
from torch.autograd import Function


@dataclass(frozen=True)
class Wrong:
    function: type[Function]
    inputs: tuple[Any, ...]
    reference: Callable[..., Any]
    says: dict[str, str]
    """A regular expression by the name of each wrong gradient."""


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


class MeanSquares(Function):
    """The loss is a mean, and its gradient that of the sum."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(x, target)
        return ((x - target) ** 2).mean()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, target = ctx.saved_tensors
        return 2 * (x - target) * g, -2 * (x - target) * g / x.numel()


class HalfSquares(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x * x).sum()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return x * g


class Difference(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        return a - b

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g, g


class Sigmoid(Function):
    """The local derivative is returned without the chain rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = 1 / (1 + (-x).exp())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return y * (1 - y)


class Rectify(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g


class Guided(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.clamp(min=0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return g.clamp(min=0) * (y > 0)


class DenseRectified(Function):
    """The mask comes from what went into the product, not from what came out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return (x @ weight).relu()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        g = g * (x > 0)
        return g @ weight.T, x.T @ g


class Product(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, b = ctx.saved_tensors
        return g @ b.T, (a.T @ g).T


class AddBias(Function):
    """The bias is used by every row, and takes the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        return x + bias

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g, g[0]


class AverageBias(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        return x + bias

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g, g.mean(0)


class Times(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a.sin() * b

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        b, a = ctx.saved_tensors  # as they were not saved
        return g * a.cos() * b, g * a.sin()


class Returned(Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        a, b = ctx.saved_tensors
        return g * a, g * b


class Residual(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        inner = x.tanh()
        ctx.save_for_backward(inner)
        return x + inner

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (inner,) = ctx.saved_tensors
        return g * (1 - inner**2)


def normalise(x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    spread = centred.square().mean(-1, keepdim=True).add(1e-5).sqrt()
    return centred / spread


class Normalise(Function):
    """The spread is treated as if it did not depend on x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return normalise(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        spread = (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return (g - g.mean(-1, keepdim=True)) / spread


class Strided(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv1d(x, weight, stride=2, padding=1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        spread = x.new_zeros(len(x), weight.shape[0], x.shape[-1])
        spread[..., : g.shape[-1]] = g  # side by side, and not every other pixel
        grad_x = F.conv1d(spread, weight.transpose(0, 1).flip(2), padding=1)
        return grad_x, of.conv1d_weight(x, weight.shape, g, stride=2, padding=1)


class Volume(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv3d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        grad_x = F.conv3d(g, weight.transpose(0, 1), padding=1)
        return grad_x, of.conv3d_weight(x, weight.shape, g, padding=1)


class Grouped(Function):
    """Height and width have different dilations, which change places on the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=(1, 2), dilation=(1, 2), groups=2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        there = {"padding": (1, 2), "dilation": (1, 2), "groups": 2}
        back = {"padding": (2, 1), "dilation": (2, 1), "groups": 2}
        return (
            of.conv2d_input(x.shape, weight, g, **there),
            of.conv2d_weight(x, weight.shape, g, **back),
        )


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores: Tensor = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return scores.softmax(-1) @ v


class Attention(Function):
    """The scale of the scores is forgotten on the way to q."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(q, k, v)
        return attend(q, k, v)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        q, k, v = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        weights = (q @ k.transpose(-1, -2) * scale).softmax(-1)
        back = g @ v.transpose(-1, -2)
        scores = weights * (back - (back * weights).sum(-1, keepdim=True))
        return scores @ k, scores.transpose(-1, -2) @ q * scale, weights.transpose(-1, -2) @ g


class Turn(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.roll(1, -1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g.roll(1, -1)


class Bounded(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-0.7, 0.7)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * (x > -0.7)


class Frozen(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return x * scale

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (scale,) = ctx.saved_tensors
        return g * scale, None


class Both(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x)
        return x.sin(), x.cos()

    @staticmethod
    def backward(ctx: Any, g: Tensor, h: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * x.cos()


class Square(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x * x
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (y,) = ctx.saved_tensors
        return 2 * y * g


class Pool(Function):
    """The gradient is handed to every pixel, but not divided among them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return x.mean((2, 3))

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g[:, :, None, None].expand(ctx.shape)


class Absolute(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.abs()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g


class Head(Function):
    """Half of the maps are forgotten."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        grad = torch.zeros_like(x)
        grad[:, :2] = (g * x.exp())[:, :2]
        return grad


class Wide(Function):
    """grad_weight sees x as if it had been padded by one pixel more."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        height, width = g.shape[2:]
        padded = F.pad(x, (2, 2, 2, 2))
        taps = [
            torch.einsum("nkhw,nchw->kc", g, padded[:, :, i : i + height, j : j + width])
            for i in range(3)
            for j in range(3)
        ]
        grad_weight = torch.stack(taps, -1).view(weight.shape)
        return of.conv2d_input(x.shape, weight, g, padding=1), grad_weight


class Constant(Function):
    """A penalty was added to the gradient by hand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        (x,) = ctx.saved_tensors
        return g * x.cos() + 0.01 * x


WRONG = [
    Wrong(
        MeanSquares,
        (draw(5, 3), draw(5, 3, seed=1)),
        lambda x, target: F.mse_loss(x, target),
        {"x": r"is 15 times too large: a sum over all entries of x where a mean is right\?"},
    ),
    Wrong(
        HalfSquares,
        (draw(5),),
        lambda x: (x**2).sum(),
        {"x": r"is 2 times too small: a forgotten factor 2\b"},
    ),
    Wrong(
        Difference,
        (draw(4, 3), draw(4, 3, seed=1)),
        lambda a, b: a - b,
        {"b": "has the wrong sign"},
    ),
    Wrong(Sigmoid, (draw(4, 3),), torch.sigmoid, {"x": "does not use grad_output"}),
    Wrong(Rectify, (draw(6, 5),), torch.relu, {"x": "where the output is 0: .*ReLU missing"}),
    Wrong(Guided, (draw(6, 5),), torch.relu, {"x": "cut off below 0: a ReLU of the gradient"}),
    Wrong(
        DenseRectified,
        (draw(6, 4), draw(4, 4)),
        lambda x, weight: (x @ weight).relu(),
        {"x": "takes the mask of the output from x", "weight": "the mask of the output from x"},
    ),
    Wrong(
        Product,
        (draw(3, 4), draw(4, 4)),
        lambda a, b: a @ b,
        {"b": "has its axes 0 and 1 exchanged"},
    ),
    Wrong(
        AddBias,
        (draw(6, 4), draw(4)),
        lambda x, bias: x + bias,
        {"bias": "counts only index 0 of axis 0 of y: the other terms of a sum are missing"},
    ),
    Wrong(
        AverageBias,
        (draw(6, 4), draw(4)),
        lambda x, bias: x + bias,
        {"bias": "is 6 times too small: a mean over the batch where a sum is right"},
    ),
    Wrong(
        Times,
        (draw(4, 3), draw(4, 3, seed=1)),
        lambda a, b: a.sin() * b,
        {"a": "for a and b exchanged: saved in the wrong order", "b": "for a and b exchanged"},
    ),
    Wrong(
        Returned,
        (draw(4, 3), draw(4, 3, seed=1)),
        lambda a, b: a * b,
        {"a": "is the gradient of b: the two exchanged", "b": "is the gradient of a"},
    ),
    Wrong(
        Residual,
        (draw(4, 3),),
        lambda x: x + x.tanh(),
        {"x": r"lacks a part: it is right if x in `add` .* is taken as a constant"},
    ),
    Wrong(
        Normalise,
        (draw(4, 6),),
        normalise,
        {"x": "lacks a part: it is right if (centred in `square`|the result of `square`)"},
    ),
    Wrong(
        Strided,
        (draw(2, 3, 9), draw(4, 3, 3)),
        lambda x, weight: F.conv1d(x, weight, stride=2, padding=1),
        {"x": "is that of stride 1"},
    ),
    Wrong(
        Volume,
        (draw(1, 2, 4, 5, 4), draw(3, 2, 3, 3, 3)),
        lambda x, weight: F.conv3d(x, weight, padding=1),
        {"x": "has the kernel not rotated"},
    ),
    Wrong(
        Grouped,
        (draw(2, 4, 7, 6), draw(6, 2, 3, 3)),
        lambda x, weight: F.conv2d(x, weight, padding=(1, 2), dilation=(1, 2), groups=2),
        {"weight": r"is that of dilation \(2, 1\)"},
    ),
    Wrong(
        Attention,
        (draw(2, 3, 16), draw(2, 4, 16), draw(2, 4, 5)),
        attend,
        {"q": "is 4 times too large: the square root of 16, axis 2 of q"},
    ),
    Wrong(Turn, (draw(3, 7),), lambda x: x.roll(1, -1), {"x": r"is shifted by \+2 along axis 1"}),
    Wrong(
        Bounded,
        (draw(6, 5),),
        lambda x: x.clamp(-0.7, 0.7),
        {"x": "at its upper limit: the mask of a clamp missing"},
    ),
    Wrong(
        Frozen,
        (draw(6, 5), draw(5)),
        lambda x, scale: x * scale,
        {"scale": "is missing: the backward returns None for it"},
    ),
    Wrong(Both, (draw(4),), lambda x: (x.sin(), x.cos()), {"x": r"lacks what comes from y\[1\]"}),
    Wrong(Square, (draw(4, 3),), lambda x: x**2, {"x": "is taken at the output, not at x"}),
    Wrong(
        Pool,
        (draw(3, 2, 5, 7),),
        lambda x: x.mean((2, 3)),
        {"x": "is 35 times too large"},
    ),
    Wrong(Absolute, (draw(5, 4),), torch.abs, {"x": r"has the wrong sign at \d+ of 20 entries"}),
    Wrong(
        Head,
        (draw(3, 4),),
        torch.exp,
        {"x": "is zero at index 2, 3 of axis 1 and right elsewhere"},
    ),
    Wrong(
        Wide,
        (draw(2, 3, 6, 5), draw(2, 3, 3, 3)),
        lambda x, weight: F.conv2d(x, weight, padding=1),
        {"weight": "is that of padding 2"},
    ),
    Wrong(
        Constant,
        (draw(4, 3),),
        torch.sin,
        {"x": "does not depend on grad_output.*it is right but for that part"},
    ),
]
