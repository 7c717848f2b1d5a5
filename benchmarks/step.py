"""Times a whole training step of `model=basic`, ours beside PyTorch's, in turns.

`python -m benchmarks.step` prints a line for each C: the best milliseconds of each rule and layout,
and how many times as fast as each kind of `auto` ours is. Run it on a machine that is idle.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from context_agg.networks.context import DILATIONS
from context_agg.networks.context_net import ContextNet

PEERS = {  # name: backprop, memory format
    "manual": ("manual", torch.channels_last),
    "auto": ("auto", torch.contiguous_format),  # as users write it
    "auto_nhwc": ("auto", torch.channels_last),
    "manual_torch": ("manual_torch", torch.channels_last),
}


def make_step(
    backprop: str, layout: torch.memory_format, channels: int, side: int, batch: int
) -> Callable[[], None]:
    """A step of Adam on one batch of random images."""
    torch.manual_seed(0)
    network = ContextNet(
        channels,
        DILATIONS,
        [1] * len(DILATIONS),
        in_channels=1,
        image_size=(side, side),
        num_classes=10,
        backprop=backprop,
    ).to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters())
    x = torch.rand(batch, 1, side, side).contiguous(memory_format=layout)
    target = torch.randint(10, (batch,))

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(network(x), target))
        optimizer.step()

    return step


def milliseconds(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """The best time of each, of so many; they take turns, so that noise meets all of them."""
    best = dict.fromkeys(steps, float("inf"))
    for number in range(rounds + 2):  # two to warm up
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 2:
                best[name] = min(best[name], 1000 * (time.perf_counter() - start))
    return best


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("channels", type=int, nargs="*", default=[8, 16, 32])
    parser.add_argument("--side", type=int, default=28, help="of the images, in pixels")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS)[:3])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, {options.side}x{options.side}, batch {options.batch}; ms")
    for channels in options.channels:
        steps = {
            name: make_step(*PEERS[name], channels, options.side, options.batch)
            for name in options.peers
        }
        best = milliseconds(steps, options.rounds)
        times = ", ".join(f"{name} {best[name]:.2f}" for name in best)
        ratios = ", ".join(
            f"x{best[name] / best['manual']:.2f}" for name in best if name != "manual"
        )
        print(f"C={channels:<3} {times}: {ratios}", flush=True)


if __name__ == "__main__":
    main()
