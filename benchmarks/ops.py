"""Times one layer, forward and backward, for every rule, dilation and C, in turns.

`python -m benchmarks.ops` prints a line for each. Run it on a machine that is idle.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.limit import Limit, cores
from benchmarks.problem import Convolution, multiply_adds
from benchmarks.reference import bias_off_zero, check, distance
from benchmarks.turns import REST, WARM_UP, Measurement, Quiet
from context_agg.ops import get_conv_op

RULES = {  # name: backprop, memory format
    "manual": ("manual", torch.channels_last),
    "auto": ("auto", torch.contiguous_format),
    "auto, channels_last": ("auto", torch.channels_last),
    "manual_torch": ("manual_torch", torch.contiguous_format),
    "manual_taps": ("manual_taps", torch.contiguous_format),
}
CHANNELS = (1, 8, 16, 32)
DILATIONS = (1, 2, 4, 8, 16)
ROUNDS = 9


class Operands(NamedTuple):
    """Those of a layer, in float64; no ReLU's input is near zero."""

    x: Tensor
    weight: Tensor
    bias: Tensor
    grad_output: Tensor


def operands(conv: Convolution, batch: int, side: int) -> Operands:
    """Normally distributed ones."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).double()

    c, k = conv.in_channels, conv.out_channels
    x = normal(batch, c, side, side)
    weight = (normal(k, c, conv.side, conv.side) / (c * conv.side**2) ** 0.5).float().double()
    y = F.conv2d(x, weight, None, padding="same", dilation=conv.dilation)
    return Operands(x, weight, bias_off_zero(y), normal(batch, k, side, side))


class Layer:
    """A layer with ReLU by one rule.

    Args:
        rule: a name in `RULES`.
        dilation: its dilation.
        operands: what it is applied to.
        dtype: number type.
    """

    def __init__(self, rule: str, dilation: int, operands: Operands, dtype: torch.dtype) -> None:
        backprop, layout = RULES[rule]
        self.op, self.dilation = get_conv_op(backprop), dilation
        x, weight, grad_output = (
            maps.to(dtype, memory_format=layout)
            for maps in (operands.x, operands.weight, operands.grad_output)
        )
        self.inputs = [part.requires_grad_() for part in (x, weight, operands.bias.to(dtype))]
        self.grad_output = grad_output
        self.y = self.forward()

    def forward(self) -> Tensor:
        """The output."""
        x, weight, bias = self.inputs
        return self.op(x, weight, bias, self.dilation, True)

    def backward(self) -> tuple[Tensor, ...]:
        """The gradients of input, weight and bias."""
        return torch.autograd.grad(self.y, self.inputs, self.grad_output, retain_graph=True)


def measure(
    conv: Convolution, batch: int, side: int, rounds: int, limit: Limit, threads: int
) -> Measurement:
    """Checks every rule against float64, then times them.

    Raises:
        ArithmeticError: if an output or a gradient is wrong.
    """
    given = operands(conv, batch, side)
    layers = {rule: Layer(rule, conv.dilation, given, torch.float32) for rule in RULES}
    exact = Layer("auto", conv.dilation, given, torch.float64)
    work = 2e-9 * batch * multiply_adds(conv, side)
    rules: dict[str, dict[str, Any]] = {}
    calls: list[tuple[Callable[[], object], list[float]]] = []
    for rule, layer in layers.items():
        forward = _timed(f"{rule}, forward, {conv}", work, [layer.y], [exact.y])
        backward = _timed(f"{rule}, backward, {conv}", 2 * work, layer.backward(), exact.backward())
        rules[rule] = {"forward": forward, "backward": backward}
        calls.append((layer.forward, forward["milliseconds"]))
        calls.append((layer.backward, backward["milliseconds"]))
    limits, quiet = [], Quiet()
    for number in range(WARM_UP + rounds):
        quiet.wait()
        speed = limit(threads)
        time.sleep(REST)
        for call, times in calls:
            call()  # the first one after a rest, or after another rule, takes longer
            start = time.perf_counter()
            call()
            if number >= WARM_UP:
                times.append(round(1000 * (time.perf_counter() - start), 3))
        if number >= WARM_UP:
            limits.append(round(speed, 1))
    return {
        "channels": conv.in_channels,
        "dilation": conv.dilation,
        "batch": batch,
        "side": side,
        "threads": threads,
        "limit_gigaflops_per_second": limits,
        "others_percent": quiet.busy[WARM_UP:],
        "rules": rules,
    }


def _timed(
    name: str, gigaflops: float, found: Sequence[Tensor], exact: Sequence[Tensor]
) -> dict[str, Any]:
    """What is recorded of a pass, without times as yet, once its results have been checked."""
    errors = [
        distance(a.detach().numpy(), b.detach().numpy()) for a, b in zip(found, exact, strict=True)
    ]
    return {
        "error": float(f"{check(name, max(errors)):.1e}"),
        "gigaflops": round(gigaflops, 4),
        "milliseconds": [],
    }


def describe(measured: Measurement) -> str:
    """A line for each rule."""
    limit = max(measured["limit_gigaflops_per_second"])
    lines = ["C = {channels}, dilation {dilation}".format(**measured)]
    for rule, ways in measured["rules"].items():
        parts = []
        for way, row in ways.items():
            times, own = row["milliseconds"], measured["rules"]["manual"][way]["milliseconds"]
            ratio = median(time / mine for time, mine in zip(times, own, strict=True))
            share = 100 * row["gigaflops"] / min(times) * 1000 / limit
            parts.append(f"{way} {min(times):7.2f} ms, {share:3.0f} % of the limit, x{ratio:.2f}")
        lines.append(f"  {rule:<20} {'; '.join(parts)}")
    return "\n".join(lines)


def measurements(
    channels: tuple[int, ...] = CHANNELS,
    dilations: tuple[int, ...] = DILATIONS,
    batch: int = 128,
    side: int = 28,
    rounds: int = ROUNDS,
) -> Iterator[Measurement]:
    """Measures each shape, and prints what came out."""
    limit, threads = Limit(), cores()
    torch.set_num_threads(threads)
    for c in channels:
        for dilation in dilations:
            conv = Convolution(c, c, 3, dilation)
            measured = measure(conv, batch, side, rounds, limit, threads)
            print(describe(measured), flush=True)
            yield measured


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ops", description=__doc__)
    parser.add_argument("channels", type=int, nargs="*", default=CHANNELS, help="values of C")
    parser.add_argument("--dilations", type=int, nargs="*", default=DILATIONS)
    parser.add_argument("--side", type=int, default=28, help="of the images, in pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    for _ in measurements(**vars(parser.parse_args())):
        pass  # it prints


if __name__ == "__main__":
    main()
