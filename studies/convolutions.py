"""What dilated convolutions see: views, hand-set kernels, Kronecker products, shifts, maps."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from matplotlib.figure import Figure
from torch import Tensor, nn

from context_agg.analysis.equivariance import PoolingNet, circular, shift_error
from context_agg.analysis.features import plot_maps
from context_agg.analysis.filters import costs, photograph
from context_agg.analysis.kronecker import (
    compare_approximations,
    composite_kernel,
    kronecker_kernel,
    run_stack,
)
from context_agg.analysis.receptive_field import (
    effective_side,
    input_gradient,
    plot_gridding,
    plot_growth,
    plot_measured,
    plot_taps,
    receptive_fields,
    support,
)
from context_agg.cli.compose import compose_config
from context_agg.data.images import ImageData
from context_agg.data.spec import DataSpec
from context_agg.networks.context import ContextModule, DilatedConv2d
from context_agg.networks.context_net import ContextNet
from context_agg.networks.lecture import LectureNet
from context_agg.runs.load import load_network
from studies.convolution_plots import (
    plot_approximations,
    plot_architecture,
    plot_depth,
    plot_edges,
    plot_filters,
    plot_kernels,
    plot_pooling,
    plot_shift_errors,
)
from studies.layer_comparison import compare_layers
from studies.results import ROOT, read
from studies.step import step
from studies.study import Study
from studies.tables import plain_table

TRAINED = ROOT / "models" / "basic_mnist"  # from the identity, with manual, 3 epochs
SPEC = DataSpec("MNIST", 1, (28, 28), tuple("0123456789"), 4)


def untrained(init: str, seed: int = 0) -> ContextNet:
    """The network of models/basic_mnist as it starts."""
    torch.manual_seed(seed)
    network: ContextNet = instantiate(compose_config(f"model.init={init}").model, **SPEC.shapes)
    return network


def trained() -> ContextNet:
    """The network of models/basic_mnist."""
    network, _ = load_network(TRAINED)
    assert isinstance(network, ContextNet)
    return network


def mnist() -> ImageData:
    """MNIST."""
    data: ImageData = instantiate(compose_config("data=mnist").data)
    return data


def digit() -> Tensor:
    """The first test image of MNIST, a seven, 0..1: (1, 1, 28, 28)."""
    return mnist().test.batch(slice(1))[0]


def canvas(side: int = 84, images: int = 8) -> Tensor:
    """Pages of MNIST digits, 0..1: (images, 1, side, side)."""
    rows = side // 28
    digits, _ = mnist().test.batch(slice(images * rows**2))
    pages = digits.view(images, rows, rows, 28, 28).transpose(2, 3)
    return pages.reshape(images, 1, side, side)


def context_views(network: ContextNet, x: Tensor) -> list[Tensor]:
    """How much the middle output of every layer of the context module depends on its input."""
    layers = network.context.convolutions
    with torch.no_grad():
        x = network.front_end(x)
    return [
        input_gradient(nn.Sequential(*layers[:depth]), x, torch.Generator().manual_seed(0))
        for depth in range(1, len(layers) + 1)
    ]


VIEWS = {
    "normal": lambda: untrained("normal"),
    "identity": lambda: untrained("identity"),
    "identity, trained": trained,
}


WHAT = ("sees", "95 % in")


def measure_views() -> Iterator[list[str]]:
    """Per layer: its view in theory, and by gradient what it sees and where 95 % of that lies."""
    yield [
        "layer",
        "dilation",
        "in theory",
        *(f"{name}: {what}" for name in VIEWS for what in WHAT),
    ]
    x = canvas()
    views = [context_views(make(), x) for make in VIEWS.values()]
    convolutions = untrained("normal").context.convolutions
    for number, (side, conv) in enumerate(
        zip(receptive_fields(convolutions), convolutions, strict=True)
    ):
        row = [str(number + 1), str(conv.dilation[0]), str(side)]
        for view in views:
            row += [str(max(support(view[number]))), str(effective_side(view[number]))]
        yield row


def measure_layers() -> Iterator[list[str]]:
    """The comparison of layers at 8 maps on 64x64 pixels."""
    yield ["three layers", "view by gradient", "resolution", "parameters", "ms"]
    for stack in compare_layers():
        side = f"{stack.receptive_field}x{stack.receptive_field}"
        resolution = f"1/{round(1 / stack.resolution)}" if stack.resolution < 1 else "1"
        yield [stack.name, side, resolution, str(stack.parameters), f"{stack.milliseconds:.2f}"]


def relative(a: Tensor, b: Tensor) -> float:
    """|a - b| / |b|."""
    return float((a - b).norm() / b.norm())


def measure_kronecker() -> Iterator[list[str]]:
    """Where one convolution with the Kronecker product does what the stack does, in float64."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, maps = draw(1, 1, 64, 64), draw(1, 3, 64, 64)
    stack = [draw(1, 1, 3, 3) for _ in range(3)]
    pairs = [draw(1, 1, 2, 2) for _ in range(3)]
    mixing = [draw(3, 3, 3, 3) for _ in range(3)]
    powers = (1, 3, 9)
    exact = run_stack(x, stack, powers)
    kernel = kronecker_kernel(stack)
    rectified, padded = x, x
    for weight, dilation in zip(stack, powers, strict=True):
        rectified = F.conv2d(rectified, weight, dilation=dilation).relu()
        padded = F.conv2d(padded, weight, dilation=dilation, padding=dilation)
    once = F.conv2d(x, kernel, padding=13)
    backwards = F.conv2d(x, kronecker_kernel(stack[::-1]))
    yield ["3x3 kernels K0, K1, K2, one map", "relative error"]
    for name, result, truth in (
        ("dilations 1, 3, 9: K2 (x) K1 (x) K0", F.conv2d(x, kernel), exact),
        ("the same, the factors in reverse order", backwards, exact),
        ("the same, zero padding once", once, run_stack(F.pad(x, (13,) * 4), stack, powers)),
        ("the same, zero padding in every layer", padded, once),
        ("the same, with ReLU", rectified, exact),
        (
            "the same, three maps, summed over those in between",
            F.conv2d(maps, kronecker_kernel(mixing)),
            run_stack(maps, mixing, powers),
        ),
        (
            "2x2 kernels, dilations 1, 2, 4",
            F.conv2d(x, kronecker_kernel(pairs)),
            run_stack(x, pairs, (1, 2, 4)),
        ),
        (
            "dilations 1, 2, 4: a composite kernel of 15x15, no Kronecker product",
            F.conv2d(x, composite_kernel(stack, (1, 2, 4))),
            run_stack(x, stack, (1, 2, 4)),
        ),
    ):
        yield [name, f"{relative(result, truth):.1g}"]


def fit(network: nn.Module, data: ImageData, images: int = 20_000) -> None:
    """Trains a classifier on MNIST for a while."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for batch in torch.split(torch.randperm(len(data.train.images))[:images], 64):
        step(network, nn.CrossEntropyLoss(), optimizer, *data.train.batch(batch))


def trained_kernel() -> Tensor:
    """The composite kernel, 27x27, of a linear stack of 1, 8, 8 and 1 maps trained on MNIST."""
    torch.manual_seed(0)
    stack = [
        DilatedConv2d(1, 8, 3, dilation=1, bias=False),
        DilatedConv2d(8, 8, 3, dilation=3, bias=False),
        DilatedConv2d(8, 1, 3, dilation=9, bias=False),
    ]
    fit(nn.Sequential(*stack, nn.Flatten(), nn.Linear(784, 10)), mnist())
    weights = [layer.weight.detach() for layer in stack]
    return composite_kernel(weights, (1, 3, 9))[0, 0]


def measure_approximations() -> Iterator[list[str]]:
    """How near Kronecker products and low rank come to four matrices of 27x27."""
    matrices = {
        "a digit": digit()[0, 0, :27, :27],
        "a photograph": photograph()[0, 0, 100:127, 100:127],
        "a trained kernel": trained_kernel(),
        "N(0, 1)": torch.randn(27, 27, generator=torch.Generator().manual_seed(0)),
    }
    yield ["matrix", "approximation", "numbers", "error"]
    for name, matrix in matrices.items():
        for kind, (numbers, error) in compare_approximations(matrix.double().numpy()).items():
            yield [name, kind, str(numbers), f"{error:.4f}"]


def plot_recorded_approximations() -> Figure:
    """The recorded errors."""
    results: dict[str, dict[str, tuple[int, float]]] = {}
    for row in read("approximations"):
        pair = int(row["numbers"]), float(row["error"])
        results.setdefault(row["matrix"], {})[row["approximation"]] = pair
    return plot_approximations(results)


def measure_shifts() -> Iterator[list[str]]:
    """Errors under shifts by 1 to 8 pixels, on a torus of 64x64, in float64."""

    def module(padding: str, network: ContextNet) -> ContextModule:
        context = ContextModule(16, (1, 1, 2, 4, 8, 16, 1), padding=padding)
        context.load_state_dict(network.context.state_dict())
        return context.double()

    torch.manual_seed(0)
    pooling = PoolingNet(16)
    lift = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU())
    random_pooling = PoolingNet(16).double()
    fit(nn.Sequential(lift, pooling, nn.Flatten(), nn.Linear(16 * 784, 10)), mnist())
    x = torch.rand(1, 16, 64, 64, dtype=torch.float64)
    yield ["network", *map(str, range(1, 9))]
    for name, network in (
        ("dilated, random", circular(module("valid", untrained("normal")))),
        ("dilated, trained", circular(module("valid", trained()))),
        ("pooling, random", random_pooling),
        ("pooling, trained", pooling.double()),
        ("dilated, trained, zero padding", module("same", trained())),
    ):
        yield [name, *(f"{shift_error(network, x, shift):.3g}" for shift in range(1, 9))]


def plot_views() -> Figure:
    """What the module's output depends on, untrained and trained."""
    x = canvas()
    return plot_measured({name: context_views(make(), x)[6] for name, make in VIEWS.items()})


def plot_recorded_shifts() -> Figure:
    """The recorded errors."""
    return plot_shift_errors(
        {row.pop("network"): [float(error) for error in row.values()] for row in read("shifts")}
    )


def cost_table() -> str:
    """Weights of the kinds of convolution, for three layers."""
    layers = {
        "5x5, 1 to 32": (5, 1, 32),
        "5x5, 32 to 64": (5, 32, 64),
        "3x3, 16 to 16": (3, 16, 16),
    }
    rows = []
    for name, layer in layers.items():
        weights = {kind: f"{cost.weights:,}" for kind, cost in costs(*layer).items()}
        rows.append({"kernel, maps in to out": name} | weights)
    return plain_table(rows)


STUDY = Study(
    "convolutions",
    measurements={
        "views": measure_views,
        "layers": measure_layers,
        "kronecker": measure_kronecker,
        "approximations": measure_approximations,
        "shifts": measure_shifts,
    },
    figures={
        "growth": plot_growth,
        "depth": plot_depth,
        "gridding": lambda: plot_gridding(
            [(2, 2, 2), (2, 4, 8), (1, 2, 5), (1, 1, 2, 4, 8, 16, 1)]
        ),
        "views": plot_views,
        "filters": lambda: plot_filters(photograph()),
        "pooling": lambda: plot_pooling(photograph()),
        "taps": plot_taps,
        "edges": plot_edges,
        "kernels": plot_kernels,
        "approximations": plot_recorded_approximations,
        "shifts": plot_recorded_shifts,
        "maps": lambda: plot_maps(
            {"random": untrained("normal"), "trained": trained()}, digit(), maps=2
        ),
        "architecture": lambda: plot_architecture(trained(), SPEC),
        "architecture_lecture": lambda: plot_architecture(
            LectureNet("default", 0.25, **SPEC.shapes), SPEC
        ),
    },
    tables={
        "views": lambda: plain_table(read("views")),
        "layers": lambda: plain_table(read("layers")),
        "costs": cost_table,
        "kronecker": lambda: plain_table(read("kronecker")),
    },
)
