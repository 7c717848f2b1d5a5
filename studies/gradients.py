"""The gradient laboratory: wrong rules at initialisation, what catches them, and a collapse."""

import statistics
import time
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor, nn

from context_agg.analysis.colours import COLORS
from context_agg.callbacks.gradient_alignment import GradientAlignment
from context_agg.cli.compose import compose_config
from context_agg.gradients.agreement import network_alignment
from context_agg.gradients.backward_report import STEPS as STEP_SIZES
from context_agg.gradients.finite_differences import difference_errors, gradcheck_operands
from context_agg.networks.context import DilatedConv2d
from context_agg.ops import CONV_OPS
from context_agg.ops.mistakes import MISTAKES
from context_agg.runs.build import build, build_callbacks, build_trainer
from context_agg.runs.catch import CHECKS, catch_rows
from context_agg.runs.intervals import estimate
from studies.checkers import measure_checkers
from studies.plots import RULES, mark_missing
from studies.results import read
from studies.step import step
from studies.study import Study
from studies.tables import plain_table

STARTS = {  # by name, what is put beside the true gradient
    "post, `broken`": ("experiment=post_broken",),
    "post, `draft`": ("experiment=post_broken", "backprop=draft"),
    "post, `feedback_alignment`": ("experiment=post_broken", "backprop=feedback_alignment"),
    "post, `sign_symmetric`": ("experiment=post_broken", "backprop=sign_symmetric"),
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
LAYERS = [f"layer {number}" for number in range(1, 9)]
DIFFERENCES = ("manual", "broken")  # the rules beside finite differences
NETWORKS = 40  # random initialisations
IMAGES = 100


def start_cosines(*overrides: str) -> Iterator[tuple[int, list[float]]]:
    """Of each random network, its seed and the cosines of its convolutions' weight gradients.

    Dead networks, which have no gradient to compare, are left out.
    """
    cfg = compose_config(*overrides)
    data, loss = instantiate(cfg.data), instantiate(cfg.loss)
    x, target = data.test.batch(slice(IMAGES), torch.float64)
    for seed in range(NETWORKS):
        torch.manual_seed(seed)
        network = instantiate(cfg.model, **data.spec.shapes).double()
        alignments = network_alignment(network, loss, x, target)
        cosines = [
            alignment.cosine
            for name, alignment in alignments.items()
            if name.startswith("context.") and name.endswith("weight")
        ]
        if cosines[0] == cosines[0]:
            yield seed, cosines


def measure_starts() -> Iterator[list[str]]:
    """A row per variant and random network: the cosines of its layers."""
    yield ["variant", "seed", *LAYERS]
    for name, overrides in STARTS.items():
        for seed, cosines in start_cosines(*overrides):
            yield [name, str(seed), *(f"{cosine:.4f}" for cosine in cosines)]


def recorded_starts() -> dict[str, list[list[float]]]:
    """By variant, the recorded cosines of every layer."""
    starts: dict[str, list[list[float]]] = {}
    for row in read("start_cosines"):
        layers = starts.setdefault(row["variant"], [[] for _ in LAYERS])
        for values, layer in zip(layers, LAYERS, strict=True):
            values.append(float(row[layer]))
    return starts


def start_table() -> str:
    """Of every layer the median cosine, and the range that 80 % of the networks are in."""
    rows = []
    for variant, layers in recorded_starts().items():
        row = {"variant": variant}
        for name, values in zip(LAYERS, layers, strict=True):
            low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
            row[name] = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        rows.append(row)
    return plain_table(rows)


CHANCE = 0.632
"""In nine dimensions, 95 % of the cosines of unrelated directions are nearer to 0: c^2 is
distributed as Beta(1/2, 4)."""


def plot_starts() -> Figure:
    """The cosines of all networks, a panel per variant and a dot per network and layer."""
    starts = recorded_starts()
    figure = Figure(figsize=(9, 5.2), layout="constrained")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for axes, (variant, layers) in zip(panels.flat, starts.items(), strict=True):
        if variant.startswith("post"):  # its layers have nine weights
            axes.axhspan(-CHANCE, CHANCE, color="0.92")
        for number, values in enumerate(layers, start=1):
            places = number + np.linspace(-0.3, 0.3, len(values))
            axes.plot(places, values, ".", color=COLORS[0], markersize=3)
            axes.plot([number - 0.4, number + 0.4], [statistics.median(values)] * 2, color="black")
        axes.set_title(variant.replace("`", "").replace(", ", "\n", 1), fontsize="medium")
        axes.set(xticks=range(1, 9), ylim=(-1.05, 1.05))
        axes.grid(axis="y", alpha=0.3)
    figure.supxlabel("layer")
    figure.supylabel("cosine with the true gradient, at the start")
    return figure


def measure_catch() -> Iterator[list[str]]:
    """The table of `python -m context_agg.check backprop=all`."""
    yield ["rule", *CHECKS]
    for row in catch_rows(compose_config(command="check")):
        yield list(row.values())


def plot_catch() -> Figure:
    """The table as a map: what has caught a rule is dark."""
    rows = read("catch")
    caught = np.array([[row[check].startswith("**") for check in CHECKS] for row in rows])
    figure = Figure(figsize=(9, 5.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(caught, cmap=ListedColormap(["0.94", COLORS[0]]), aspect="auto")
    for y, row in enumerate(rows):
        for x, check in enumerate(CHECKS):
            words = row[check].strip("*").replace(", ", ",\n")
            color = "white" if caught[y, x] else "black"
            axes.text(x, y, words, ha="center", va="center", color=color)
    axes.set_xticks(range(len(CHECKS)), [fill(check, 13) for check in CHECKS])
    rules = [row["rule"].strip("`") for row in rows]
    axes.set_yticks(range(len(rules)), rules)
    axes.set_xticks(np.arange(1, len(CHECKS)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(rules)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0, top=False, labeltop=True, labelbottom=False)
    axes.axhline(sum(rule not in MISTAKES for rule in rules) - 0.5, color="black")
    patches = [Patch(color=COLORS[0], label="caught"), Patch(color="0.94", label="not caught")]
    figure.legend(handles=patches, loc="outside lower center", ncols=2)
    return figure


def measure_differences() -> Iterator[list[str]]:
    """Error of central differences by step, as `check` prints it, of the right rule and of broken.

    Dilation 2, maps of 7x7, float64.
    """
    yield ["step", *DIFFERENCES]
    operands = gradcheck_operands((7, 7), torch.device("cpu"))
    errors = [difference_errors(CONV_OPS[rule], *operands, 2, STEP_SIZES) for rule in DIFFERENCES]
    for step_size, *row in zip(STEP_SIZES, *errors, strict=True):
        yield [f"{step_size:.0e}", *(f"{error:.2e}" for error in row)]


def pixels_read(rule: str, dilation: int = 4, side: int = 11) -> Tensor:
    """Which pixels of grad_output the middle pixel of grad_x depends on: (side, side), bool.

    In a batch that has every pixel of grad_output by itself.
    """
    x = torch.zeros(side**2, 1, side, side, requires_grad=True)
    y = CONV_OPS[rule](x, torch.ones(1, 1, 3, 3), torch.zeros(1), dilation)
    (grad_x,) = torch.autograd.grad(y, x, torch.eye(side**2).view_as(y))
    return (grad_x[:, 0, side // 2, side // 2] != 0).view(side, side)


def draw_reads(axes: Axes, rule: str) -> None:
    """A grid of pixels, the middle one framed; those that it reads are filled."""
    filled = pixels_read(rule)
    colors = ListedColormap(["white", RULES[rule]])
    axes.pcolormesh(
        filled.numpy(),
        cmap=colors,
        edgecolors="0.75",
        linewidth=0.7,
        antialiased=True,
        clip_on=False,
    )
    middle = len(filled) // 2
    axes.add_patch(Rectangle((middle, middle), 1, 1, fill=False, linewidth=3))
    axes.set(xticks=[], yticks=[], frame_on=False, aspect="equal")


def draw_errors(axes: Axes) -> None:
    """The recorded errors of central differences by step."""
    rows = read("finite_differences")
    steps = [float(row["step"]) for row in rows]
    for rule, mark in zip(DIFFERENCES, ("o", "s"), strict=True):
        values = [float(row[rule]) for row in rows]
        axes.loglog(steps, values, mark, linestyle="-", color=RULES[rule], markersize=5)
    axes.text(1e-10, 0.15, "broken: wrong at every step", va="top")
    axes.text(5e-4, 4e-6, "right: falls with\nthe square of the step\nuntil rounding", ha="right")
    axes.set(xlabel="step of the finite differences", ylabel="relative error of the gradient")
    axes.grid(alpha=0.3)


def plot_broken() -> Figure:
    """What both rules read for one pixel of grad_x, and what finite differences say of them."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    right, wrong, errors = figure.subplots(1, 3, width_ratios=(1, 1, 1.55))
    draw_reads(right, "manual")
    draw_reads(wrong, "broken")
    right.set_title("right: reads nine pixels,\n4 apart", fontsize="medium")
    right.set_xlabel("framed: the pixel of grad_x")
    wrong.set_title("broken: reads nine pixels,\nside by side", fontsize="medium")
    wrong.set_xlabel("filled: read from grad_output")
    draw_errors(errors)
    return figure


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


DRIFT_STEPS, DRIFT_SEEDS = 128, 3
TRAININGS: dict[str, tuple[str, torch.dtype, torch.memory_format]] = {
    "auto": ("auto", torch.float32, torch.channels_last),
    "auto, maps apart": ("auto", torch.float32, torch.contiguous_format),
    "manual": ("manual", torch.float32, torch.channels_last),
    "auto, float64": ("auto", torch.float64, torch.channels_last),
    "manual, float64": ("manual", torch.float64, torch.channels_last),
}
"""By name the rule, the arithmetic, and how the maps lie in memory."""
PAIRS = {
    "manual and auto, float32": ("manual", "auto"),
    "auto in two layouts, float32": ("auto, maps apart", "auto"),
    "manual and auto, float64": ("manual, float64", "auto, float64"),
}


def measure_drift() -> Iterator[list[str]]:
    """How far apart trainings drift that only round differently: same start, same batches.

    The distance of all weights, relative to their norm, after 1, 2, 4, ... steps on the digits.
    """
    yield ["seed", "step", *PAIRS]
    for seed in range(DRIFT_SEEDS):
        trainings = {}
        for name, (rule, dtype, layout) in TRAININGS.items():
            data, learner = build(compose_config(f"backprop={rule}", f"seed={seed}"))
            learner.network.to(dtype).to(memory_format=layout)
            trainings[name] = learner
        draw = torch.Generator().manual_seed(seed)
        for number in range(1, DRIFT_STEPS + 1):
            batch = torch.randint(len(data.train), (data.batch_size,), generator=draw)
            for name, learner in trainings.items():
                x, target = data.train.batch(batch, TRAININGS[name][1])
                step(learner.network, learner.loss, learner.optimizer, x, target)
            if number & (number - 1) == 0:
                pairs = ((trainings[a].network, trainings[b].network) for a, b in PAIRS.values())
                yield [str(seed), str(number), *(f"{distance(*pair):.2e}" for pair in pairs)]


def distance(network: nn.Module, other: nn.Module) -> float:
    """The distance of the weights of two networks, relative to the norm of the second's."""
    a, b = (
        torch.cat([weight.detach().double().reshape(-1) for weight in net.parameters()])
        for net in (network, other)
    )
    return float((a - b).norm() / b.norm())


def plot_drift() -> Figure:
    """The distances by step, a line per seed."""
    rows = read("drift")
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for color, pair in zip((COLORS[0], COLORS[1], COLORS[6]), PAIRS, strict=True):
        for seed in dict.fromkeys(row["seed"] for row in rows):
            of_seed = [row for row in rows if row["seed"] == seed]
            steps = [int(row["step"]) for row in of_seed]
            values = [float(row[pair]) for row in of_seed]
            (line,) = axes.loglog(steps, values, ".-", color=color, linewidth=1.1)
            line.set_label(pair if seed == "0" else "")
    axes.set(xlabel="step", ylabel="distance of the weights, relative")
    axes.grid(alpha=0.3)
    if rows:
        axes.legend()
    else:
        mark_missing(axes)
    return figure


def cost_table() -> str:
    """Processor seconds of a training without and with the measurement, and the difference."""
    rows = read("alignment_cost")
    if not rows:
        return plain_table([])
    without, with_it = ([float(row[name]) for row in rows] for name in ("without", "with"))
    columns = {
        "without": estimate(without),
        "with": estimate(with_it),
        "difference": estimate([b - a for a, b in zip(without, with_it, strict=True)]),
    }
    cells = {name: f"{value.mean:.1f} ± {value.half:.1f}" for name, value in columns.items()}
    return plain_table(
        [{"callbacks=gradient_alignment": "seconds", "pairs": str(len(rows)), **cells}]
    )


COST_ROUNDS, COST_EPOCHS = 5, 10


def measure_alignment_cost() -> Iterator[list[str]]:
    """Processor seconds of a training of the digits without and with callbacks=gradient_alignment.

    The two take turns on one thread.
    """
    yield ["round", "without", "with"]
    for number in range(1, COST_ROUNDS + 1):
        seconds = (alignment_seconds(name) for name in ("default", "gradient_alignment"))
        yield [str(number), *(f"{value:.2f}" for value in seconds)]


def alignment_seconds(callbacks: str) -> float:
    """Processor seconds of a training with these callbacks, without imports."""
    cfg = compose_config(f"callbacks={callbacks}", f"trainer.max_epochs={COST_EPOCHS}")
    data, learner = build(cfg)
    measured = build_callbacks(cfg, data.spec) if callbacks != "default" else []
    measured = [callback for callback in measured if isinstance(callback, GradientAlignment)]
    with TemporaryDirectory() as folder:
        options: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
        options["default_root_dir"] = folder
        trainer = build_trainer(cfg, callbacks=measured, **options)
        start = time.process_time()
        trainer.fit(learner, data)
        return time.process_time() - start


STUDY = Study(
    "gradients",
    measurements={
        "start_cosines": measure_starts,
        "catch": measure_catch,
        "finite_differences": measure_differences,
        "identity_broken": measure_collapse,
        "drift": measure_drift,
        "alignment_cost": measure_alignment_cost,
        "checkers": measure_checkers,
    },
    figures={
        "broken": plot_broken,
        "catch": plot_catch,
        "start_cosines": plot_starts,
        "drift": plot_drift,
        "identity_broken": plot_collapse,
    },
    tables={
        "starts": start_table,
        "alignment_cost": cost_table,
        "catch": lambda: plain_table(read("catch")),
        "checkers": lambda: plain_table(read("checkers")),
    },
)
