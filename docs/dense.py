"""Measures and draws what docs/dense.md shows, beside the sweeps: part of `make figures`.

Why a context module from random weights stalls on class maps, what normalisation does about it,
and the picture of what the trained ones answer. Needs models/scenes_* and, where a CSV file
of docs/results is missing, the runs of `make scenes`.
"""

import itertools
from collections.abc import Iterator

import lightning as L
import torch
from matplotlib.figure import Figure
from PIL import Image
from recorded import FIGURES, ROOT, read, record
from steps import batch_of, step
from tables import write_tables
from torch import Tensor, nn

from context_agg.analysis.receptive_field import input_gradient
from context_agg.cli.compose import compose_config
from context_agg.cli.quiet import quiet
from context_agg.data.images import ImageData
from context_agg.data.palette import colourise
from context_agg.data.spec import VOID
from context_agg.networks.context import ContextModule
from context_agg.networks.context_net import ContextNet
from context_agg.runs.build import build
from context_agg.runs.load import load_network
from context_agg.runs.start_from import start_from
from context_agg.training.learner import Learner
from context_agg.training.metrics import MeanIoU

FRONT_END = ROOT / "models" / "scenes_front_end"
SHOWN = ("scenes_front_end", "scenes_xavier", "scenes_identity")
TITLES = ("image", "truth", "front end", "+ xavier", "+ identity")
LIFT = 2
STARTS = ("identity", "identity, lifted", "kaiming", "normal", "xavier")


def stage_two(start: str, seed: int = 0) -> tuple[ImageData, Learner]:
    """Data and learner of experiment=scenes_context as they begin."""
    init, _, lifted = start.partition(", ")
    lift = f"front_end.lift={LIFT if lifted else 0}"
    cfg = compose_config("experiment=scenes_context", f"model.init={init}", lift, f"seed={seed}")
    cfg.start_from = str(FRONT_END)
    L.seed_everything(seed, verbose=False)
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
        x, target = batch_of(data.train, slice(32))
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
    """Per front end of `make scenes`: how much of its class maps of digits is above 0, on ink."""
    yield ["seed", "above 0 on ink, mean", "lowest map", "highest map", "IoU with context"]
    for seed in range(3):
        network, _ = load_network(ROOT / "outputs" / "scenes" / "front_end" / f"seed-{seed}")
        data, _ = stage_two("identity", seed)
        target = data.test.target[:100]
        ink = (target > 0) & (target != VOID)
        with torch.no_grad():
            maps = network(data.test.images[:100].float() / 255).movedim(1, -1)[ink]
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
                step(network, learner.loss, optimizer, *batch_of(data.train, batch))
        network.eval()
        metric = MeanIoU(len(data.spec.classes))
        with torch.no_grad():
            for first in range(0, len(data.test), 50):
                x, target = batch_of(data.test, slice(first, first + 50))
                metric.update(network(x), target)
        yield ["xavier, batch normalisation", str(seed), f"{float(metric.compute()):.4f}"]


def plot_scenes(scenes: int = 3) -> Figure:
    """Test scenes, their labels, and what three trained networks answer."""
    cfg = compose_config("experiment=scenes_front_end")
    data, _ = build(cfg)
    images, truth = data.test.images[:scenes], data.test.target[:scenes]
    classes = len(data.spec.classes)
    columns = [images.expand(-1, 3, -1, -1), colourise(truth, classes)]
    for name in SHOWN:
        network, _ = load_network(ROOT / "models" / name)
        with torch.no_grad():
            columns.append(colourise(network(images.float() / 255).argmax(1), classes))
    figure = Figure(figsize=(7.5, 1.55 * scenes + 0.3), layout="constrained")
    panels = figure.subplots(scenes, len(columns))
    for column, title, pictures in zip(panels.T, TITLES, columns, strict=True):
        column[0].set_title(title)
        for axes, picture in zip(column, pictures, strict=True):
            axes.imshow(picture.movedim(0, -1).numpy())
            axes.set_axis_off()
    return figure


def main() -> None:
    """Measures what is missing in docs/results, and draws."""
    quiet()
    record("scenes_signal", measure_signal)
    record("scenes_cut", measure_cut)
    record("scenes_normalised", measure_normalised)
    data, _ = build(compose_config("experiment=scenes_front_end"))
    Image.fromarray(data.test.images[0, 0].numpy()).save(FIGURES / "scene.png")
    plot_scenes().savefig(FIGURES / "scenes_labels.png", dpi=100)
    write_tables()


if __name__ == "__main__":
    main()
