"""Dense prediction on scenes of digits: three stages, several starts, rescues of random ones."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from torch import Tensor, nn

from context_agg.analysis.colours import COLORS
from context_agg.analysis.receptive_field import input_gradient
from context_agg.cli.compose import compose_config
from context_agg.data.images import ImageData
from context_agg.data.palette import colourise, palette
from context_agg.data.pixels import network_input
from context_agg.data.spec import VOID
from context_agg.networks.context import ContextModule
from context_agg.networks.context_net import ContextNet
from context_agg.runs.build import build
from context_agg.runs.intervals import estimate, paired_difference
from context_agg.runs.load import load_network
from context_agg.runs.start_from import start_from
from context_agg.training.learner import Learner
from context_agg.training.metrics import MeanIoU
from studies.plots import draw_dots, draw_seeds
from studies.results import ROOT, curves_by_run, read, recorded_curves
from studies.step import step
from studies.study import Study
from studies.tables import plain_table, scores, sweep_table

FRONT_END = ROOT / "models" / "scenes_front_end"
SHOWN = ("scenes_front_end", "scenes_normal", "scenes_identity")
TITLES = (
    "image",
    "truth",
    "front end alone",
    "with a context\nmodule, normal",
    "with a context\nmodule, identity",
)
LIFT = 2
STARTS = ("identity", "identity, lifted", "kaiming", "normal", "xavier")


def stage_two(start: str, seed: int = 0) -> tuple[ImageData, Learner]:
    """Data and learner of experiment=scenes_context as they begin."""
    init, _, lifted = start.partition(", ")
    lift = f"front_end.lift={LIFT if lifted else 0}"
    cfg = compose_config("experiment=scenes_context", f"model.init={init}", lift, f"seed={seed}")
    cfg.start_from = str(FRONT_END)
    data, learner = build(cfg)
    start_from(cfg, learner.network, data.spec)
    return data, learner


def parts(learner: Learner) -> tuple[ContextNet, ContextModule]:
    """The network and the context module in it."""
    network = learner.network
    assert isinstance(network, ContextNet)
    return network, network.context


def measure_signal() -> Iterator[list[str]]:
    """Per start: what comes out of the module at first, what it looks at, how large gradients are.

    spread: how much the output differs from pixel to pixel (standard deviation), relative to the
    class maps; own 5x5: the share of the 5x5 pixels in the middle in what the middle output depends
    on, by gradient; gradient: norm of that of all weights.
    """
    yield ["start", "spread of the output", "own 5x5", "gradient"]
    for start in STARTS:
        data, learner = stage_two(start)
        x, target = data.train.batch(slice(32))
        network, context = parts(learner)
        maps = network.front_end(x).detach()
        output = context(maps)
        weights = [conv.weight for conv in context.convolutions]
        gradients = torch.autograd.grad(learner.loss(output, target), weights)
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        spread = output.detach().std((2, 3)).mean() / maps.std((2, 3)).mean()
        seen = input_gradient(context, maps, torch.Generator().manual_seed(0))
        row, column = (side // 2 for side in seen.shape)
        own = seen[row - 2 : row + 3, column - 2 : column + 3].sum() / seen.sum()
        yield [start, f"{float(spread):.2f}", f"{float(own):.3f}", f"{float(norm):.2g}"]


def measure_cut() -> Iterator[list[str]]:
    """Per front end of the study: how much of its class maps of digits is above 0, on ink."""
    yield ["seed", "above 0 on ink, mean", "lowest map", "highest map", "IoU with context"]
    for front_end in (run for run in STUDY.runs() if run.part == "front_end"):
        seed = front_end.seed
        network, _ = load_network(ROOT / front_end.directory)
        data, _ = stage_two("identity", seed)
        target = data.test.target[:100]
        ink = (target > 0) & (target != VOID)
        with torch.no_grad():
            maps = network(data.test.batch(slice(100))[0]).movedim(1, -1)[ink]
        above = (maps[:, 1:] > 0).float().mean(0)
        run = f"basic/model.init-identity/seed-{seed}"
        (iou,) = (float(row["test/iou"]) for row in read("scenes") if row["run"] == run)
        shares = (float(share) for share in (above.mean(), above.min(), above.max()))
        yield [str(seed), *(f"{share:.2f}" for share in shares), f"{iou:.2f}"]


class Normalised(nn.Module):
    """A context module with batch normalisation behind every 3x3 layer."""

    def __init__(self, module: ContextModule) -> None:
        super().__init__()
        *layers, last = module.convolutions
        pairs = [(layer, nn.BatchNorm2d(layer.out_channels)) for layer in layers]
        self.layers = nn.Sequential(*itertools.chain.from_iterable(pairs), last)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return y


def measure_normalised(epochs: int = 6, seeds: int = 3) -> Iterator[list[str]]:
    """Mean IoU on the test scenes with batch normalisation, from Xavier's weights."""
    yield ["variant", "seed", "test/iou"]
    for seed in range(seeds):
        data, learner = stage_two("xavier", seed)
        network, context = parts(learner)
        network.add_module("context", Normalised(context))
        trained = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=1e-3)
        order = torch.Generator().manual_seed(seed)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(data.train), generator=order), 16):
                step(network, learner.loss, optimizer, *data.train.batch(batch))
        network.eval()
        metric = MeanIoU(len(data.spec.classes))
        with torch.no_grad():
            for first in range(0, len(data.test), 50):
                x, target = data.test.batch(slice(first, first + 50))
                metric.update(network(x), target)
        yield ["xavier, batch normalisation", str(seed), f"{float(metric.compute()):.4f}"]


def first_scene() -> Image.Image:
    """A test scene as an image file, for `predict`."""
    data, _ = build(compose_config("experiment=scenes_front_end"))
    return Image.fromarray(data.test.images[0, 0].numpy())


def plot_scenes(scenes: int = 3) -> Figure:
    """Test scenes, their labels, what three trained networks answer, and the classes' colours.

    Void pixels, which do not count, are white in the answers too.
    """
    data, _ = build(compose_config("experiment=scenes_front_end"))
    images, truth = data.test.images[:scenes], data.test.target[:scenes]
    classes = data.spec.classes
    columns = [images.expand(-1, 3, -1, -1), colourise(truth, classes)]
    for name in SHOWN:
        network, _ = load_network(ROOT / "models" / name)
        with torch.no_grad():
            answer = network(network_input(images)).argmax(1)
        columns.append(colourise(answer.where(truth != VOID, VOID), classes))
    figure = Figure(figsize=(7.5, 1.55 * scenes + 0.7), layout="constrained")
    panels = figure.subplots(scenes, len(columns))
    for column, title, pictures in zip(panels.T, TITLES, columns, strict=True):
        column[0].set_title(title, fontsize="medium")
        for axes, picture in zip(column, pictures, strict=True):
            axes.imshow(picture.movedim(0, -1).numpy())
            axes.set_axis_off()
    figure.legend(
        handles=class_patches(classes),
        loc="outside lower center",
        ncols=len(classes) + 1,
        handlelength=1,
        columnspacing=0.9,
        handletextpad=0.4,
    )
    return figure


def class_patches(classes: Sequence[str]) -> list[Patch]:
    """The colour of every class, and of void, for a legend."""
    table = palette(classes).double() / 255
    labels = {name: number for number, name in enumerate(classes)} | {"void": VOID}
    return [
        Patch(facecolor=tuple(table[label].tolist()), edgecolor="0.4", label=name)
        for name, label in labels.items()
    ]


STAGES = {
    "front_end": "front end",
    "basic": "basic",
    "plain": "plain",
    "joint": "basic, identity, then joint",
    "lifted": "basic, identity, lifted",
    "lifted_joint": "basic, identity, lifted, then joint",
}
RESCUE = {
    "faster": "xavier, learning rate 0.003",
    "longer": "xavier, 24 epochs",
    "kaiming": "kaiming",
    "lifted_longer": "identity, lifted, 24 epochs",
}
SHORT = {"short": "basic", "large": "large", "large_lifted": "large, identity, lifted, all scenes"}
IOU = ("test/iou", "test/accuracy")


VARIANTS = {  # in the order of the stages
    "front_end": "front end alone",
    "plain": "plain",
    "basic/model.init-xavier": "basic, xavier",
    "basic/model.init-normal": "basic, normal",
    "basic/model.init-identity": "basic, identity",
    "lifted": "basic, identity, lifted",
    "joint": "identity, then joint",
    "lifted_joint": "identity, lifted, then joint",
}
JOINED = {"basic/model.init-identity": "joint", "lifted": "lifted_joint"}
"""Variants of the second stage that a third went on with."""
DRAWN = {
    "basic/model.init-xavier": COLORS[1],
    "basic/model.init-identity": COLORS[0],
    "lifted": COLORS[6],
}
"""The variants whose epochs are drawn."""


def ious(variant: str) -> list[list[float]]:
    """Held-out mean IoU by epoch, of every seed; the joint stage's follow those before it."""
    recorded = recorded_curves("scenes", variant.partition("/")[0])[variant]
    runs = [curves["val/iou"] for curves in recorded]
    if variant not in JOINED:
        return runs
    return [[*before, *after] for before, after in zip(runs, ious(JOINED[variant]), strict=True)]


SHADES = DRAWN | {JOINED[name]: color for name, color in DRAWN.items() if name in JOINED}
"""A colour for them, and for what went on with them."""


def plot_stages() -> Figure:
    """Test mean IoU of every seed; held-out mean IoU by epoch of some variants."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    recorded = {
        words: [run["test/iou"] for run in scores("scenes", name.partition("/")[0])[name].values()]
        for name, words in VARIANTS.items()
    }
    draw_dots(left, recorded, {VARIANTS[name]: color for name, color in SHADES.items()})
    left.set(xlabel="mean IoU, test scenes", xlim=(0, 0.9))
    for name, color in DRAWN.items():
        draw_seeds(right, ious(name), color, label=VARIANTS[name].removeprefix("basic, "))
    right.axvline(6.5, color="0.4", linestyle=":")
    right.text(6.7, 0.02, "joint training", color="0.3")
    right.set(
        xlabel="epoch of the context module", ylabel="mean IoU, held-out scenes", ylim=(0, 0.9)
    )
    right.legend(loc=(0.52, 0.35))
    return figure


SHAPES = {
    "basic/model.init-xavier": "^",
    "basic/model.init-identity": "s",
    "lifted_joint": "o",
}
"""The variants whose classes are drawn."""


def plot_classes() -> Figure:
    """Test IoU of every digit, a mark per seed, for a few variants side by side."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for shift, (name, shape) in zip((-0.25, 0, 0.25), SHAPES.items(), strict=True):
        runs = scores("scenes", name.partition("/")[0])[name].values()
        places = [digit + shift + 0.06 * (seed - 1) for seed in range(3) for digit in range(10)]
        values = [run[f"test/iou_{digit}"] for run in runs for digit in range(10)]
        axes.plot(places, values, shape, color=SHADES[name], label=VARIANTS[name], markersize=5)
    axes.set_xticks(range(10))
    axes.set_xticks([digit + 0.5 for digit in range(9)], minor=True)
    axes.grid(axis="x", which="minor", alpha=0.6)
    axes.grid(axis="y", alpha=0.3)
    axes.set(xlabel="digit", ylabel="IoU, test scenes", xlim=(-0.5, 9.5), ylim=(-0.02, 1))
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def rescue_table() -> str:
    """The sweeps of what rescues random starts, and batch normalisation."""
    table = sweep_table("scenes", RESCUE, ("test/iou",))
    ious = [float(row["test/iou"]) for row in read("scenes_normalised")]
    mean, half, count = estimate(ious)
    return table + f"| xavier, batch normalisation | {count} | {mean:.4f} ± {half:.4f} |\n"


def equal_epochs_table() -> str:
    """Held-out mean IoU after twelve epochs of the module, and after six followed by six of both.

    All from the identity with lifted class maps; joint training has the lower learning rate.
    """
    curves = curves_by_run("scenes")
    alone, joint = (
        {
            run.rpartition("/")[2]: curve["val/iou"][epoch - 1]
            for run, curve in curves.items()
            if run.startswith(f"{part}/")
        }
        for part, epoch in (("lifted_longer", 12), ("lifted_joint", 6))
    )
    difference = paired_difference(joint, alone)
    assert difference is not None
    rows = [
        ("the module alone", estimate(list(alone.values())), "-"),
        (
            "six epochs, then six joint",
            estimate(list(joint.values())),
            f"{difference.mean:+.4f} ± {difference.half:.4f}",
        ),
    ]
    return plain_table(
        [
            {
                "twelve epochs": name,
                "runs": str(value.number),
                "held-out mean IoU": f"{value.mean:.4f} ± {value.half:.4f}",
                "difference": compared,
            }
            for name, value, compared in rows
        ]
    )


STUDY = Study(
    "scenes",
    measurements={
        "scenes_signal": measure_signal,
        "scenes_cut": measure_cut,
        "scenes_normalised": measure_normalised,
    },
    needs=("front_end",),
    models={
        "scenes_front_end": ("front_end/seed-0",),
        "scenes_normal": ("basic/model.init-normal/seed-0",),
        "scenes_identity": ("basic/model.init-identity/seed-0",),
    },
    figures={
        "scenes": plot_stages,
        "scenes_classes": plot_classes,
        "scenes_labels": plot_scenes,
        "scene": first_scene,
    },
    tables={
        "scenes": lambda: sweep_table("scenes", STAGES, IOU, "basic, xavier"),
        "scenes_equal_epochs": equal_epochs_table,
        "scenes_short": lambda: sweep_table("scenes", SHORT, IOU),
        "scenes_rescue": rescue_table,
        "scenes_cut": lambda: plain_table(read("scenes_cut")),
        "scenes_signal": lambda: plain_table(read("scenes_signal")),
    },
)
