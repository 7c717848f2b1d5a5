"""The gradient laboratory: wrong rules at initialisation, what catches them, and a collapse."""

import statistics
from collections.abc import Iterator

import torch
from hydra.utils import instantiate
from matplotlib.figure import Figure
from torch import Tensor, nn

from context_agg.analysis.colours import COLORS
from context_agg.cli.compose import compose_config
from context_agg.gradients.agreement import network_alignment
from context_agg.networks.context import DilatedConv2d
from context_agg.runs.build import build
from context_agg.runs.catch import CHECKS, catch_rows
from studies.results import read
from studies.study import Study
from studies.tables import plain_table
from studies.training import step

STARTS = {  # by name, what is put beside the true gradient
    "post, `broken`": ("experiment=post_broken",),
    "post, `draft`": ("experiment=post_broken", "backprop=draft"),
    "post, shortcuts 0.8": (
        "experiment=post_broken",
        "backprop=manual",
        "model.shortcut.scale=0.8",
    ),
    "post, shortcuts 1500": (
        "experiment=post_broken",
        "backprop=manual",
        "model.shortcut.scale=1500",
    ),
    "basic, identity, `broken`": ("data=mnist", "backprop=broken"),
    "basic, normal, `broken`": ("data=mnist", "backprop=broken", "model.init=normal"),
}
NETWORKS = 40  # random initialisations
IMAGES = 100


def start_cosines(*overrides: str) -> list[float]:
    """Per convolution of the context module, the median cosine of its weight gradient."""
    cfg = compose_config(*overrides)
    data, loss = instantiate(cfg.data), instantiate(cfg.loss)
    x, target = data.test.batch(slice(IMAGES), torch.float64)
    cosines = []
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        network = instantiate(cfg.model, **data.spec.shapes).double()
        alignments = network_alignment(network, loss, x, target)
        weights = [
            alignment.cosine
            for name, alignment in alignments.items()
            if name.startswith("context.") and name.endswith("weight")
        ]
        if weights[0] == weights[0]:  # a dead network has no gradient to compare
            cosines.append(weights)
    return [statistics.median(layer) for layer in zip(*cosines, strict=True)]


def measure_starts() -> Iterator[list[str]]:
    """A row per variant: the median cosines of its layers."""
    yield ["variant", *(f"layer {number}" for number in range(1, 9))]
    for name, overrides in STARTS.items():
        yield [name, *(f"{cosine:.4f}" for cosine in start_cosines(*overrides))]


def measure_catch() -> Iterator[list[str]]:
    """The table of `python -m context_agg.check backprop=all`."""
    yield ["rule", *CHECKS]
    for row in catch_rows(compose_config(command="check")):
        yield list(row.values())


STEPS, EVERY = 860, 25  # an epoch


def follow(rule: str) -> Iterator[list[str]]:
    """Trains the basic module from the identity: step, layer, cosine, size of the output."""
    cfg = compose_config("data=mnist", f"backprop={rule}")
    data, learner = build(cfg)
    network, loss, optimizer = learner.network, learner.loss, learner.optimizer
    outputs: dict[str, float] = {}
    for name, module in network.named_modules():
        if isinstance(module, DilatedConv2d):

            def keep(module: nn.Module, x: object, y: Tensor, name: str = name) -> None:
                outputs[name] = float(y.detach().square().mean().sqrt())

            module.register_forward_hook(keep)
    order = torch.randperm(len(data.train.images), generator=torch.Generator().manual_seed(0))
    for number, batch in enumerate(torch.split(order, data.batch_size)[:STEPS]):
        x, target = data.train.batch(batch)
        if number % EVERY == 0:
            alignments = network_alignment(network, loss, x, target)
            for name, scale in outputs.items():
                cosine = alignments[f"{name}.weight"].cosine
                yield [rule, str(number), name, f"{cosine:.4f}", f"{scale:.4g}"]
        step(network, loss, optimizer, x, target)


def measure_collapse() -> Iterator[list[str]]:
    """Both rules, from the same identity and on the same batches."""
    yield ["rule", "step", "layer", "cosine", "output_rms"]
    for rule in ("manual", "broken"):
        yield from follow(rule)


def plot_collapse() -> Figure:
    """The size of three layers' outputs under both rules, and the cosines under broken."""
    rows = read("identity_broken")
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for color, layer in zip(COLORS, (0, 2, 4, 5, 7), strict=False):
        name = f"context.layers.{layer}"
        for rule, line in (("broken", "-"), ("manual", ":")):
            points = [row for row in rows if (row["rule"], row["layer"]) == (rule, name)]
            steps = [int(row["step"]) for row in points]
            sizes = [float(row["output_rms"]) for row in points]
            label = f"{name}, {rule}" if rule == "broken" else None
            left.plot(steps, sizes, line, color=color, label=label)
            if rule == "broken":
                cosines = [float(row["cosine"]) for row in points]
                right.plot(steps, cosines, color=color, label=name)
    left.set(yscale="log", xlabel="step", ylabel="root mean square", title="output of a layer")
    left.plot([], [], "k:", label="the same, manual")
    left.legend(fontsize="small")
    right.axhline(0, color="0.5", linewidth=0.8)
    right.set(xlabel="step", ylim=(-1.05, 1.05), title="cosine with the true gradient, broken")
    right.legend(fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


def start_table() -> str:
    """Median cosines of the layers, to two digits."""
    rows = read("start_cosines")
    for row in rows:
        for name in list(row)[1:]:
            row[name] = f"{float(row[name]):.2f}"
    return plain_table(rows)


STUDY = Study(
    "gradients",
    measurements={
        "start_cosines": measure_starts,
        "catch": measure_catch,
        "identity_broken": measure_collapse,
    },
    figures={"identity_broken": plot_collapse},
    tables={"starts": start_table, "catch": lambda: plain_table(read("catch"))},
)
