"""A Stanford lecture's network against the context module: accuracy by epoch and by time."""

import statistics
import time
from collections.abc import Iterator

import torch
from matplotlib.figure import Figure

from context_agg.cli.compose import compose_config
from context_agg.runs.build import build
from context_agg.runs.curves import plot_bands
from studies.results import Curves, read, recorded_curves
from studies.step import step
from studies.study import Study
from studies.tables import plain_table

BATCHES, ROUNDS = 12, 5  # of 128 images; the first round warms up and does not count
NETWORKS = {
    "the lecture's, PyTorch's weights": ("experiment=lecture_mnist",),
    "basic, identity": ("experiment=lecture_mnist", "model=basic", "backprop=auto"),
}
WORDS = {
    "lecture/model.init-default": "the lecture's, PyTorch's weights",
    "lecture/model.init-lecture": "the lecture's, its weights",
    "basic": "basic, identity",
}
MNIST_IMAGES = 60_000  # learnt from in an epoch, where the test images are held out
LECTURE = {1: "0.9131", 2: "0.9363", 3: "0.9478", 5: "0.9573", 10: "0.971", 25: "0.9818"}
"""Published test accuracy by epoch; about 250 s an epoch."""


def measure_speed() -> Iterator[list[str]]:
    """Images a second in training, median, least and most of the rounds.

    The two take turns on one thread, so that what else the machine does meets both.
    """
    torch.set_num_threads(1)
    learners = {name: build(compose_config(*overrides)) for name, overrides in NETWORKS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for _ in range(1 + ROUNDS):
        for name, (data, learner) in learners.items():
            start = time.perf_counter()
            for batch in torch.split(torch.arange(BATCHES * data.batch_size), data.batch_size):
                x, target = data.train.batch(batch)
                step(learner.network, learner.loss, learner.optimizer, x, target)
            speeds[name].append(BATCHES * data.batch_size / (time.perf_counter() - start))
    yield ["run", "images/s", "least", "most"]
    for name, (_, *counted) in speeds.items():
        values = (statistics.median(counted), min(counted), max(counted))
        yield [name, *(f"{value:.0f}" for value in values)]


def recorded() -> dict[str, list[Curves]]:
    """The recorded curves, in words."""
    curves = recorded_curves("lecture", "lecture") | recorded_curves("lecture", "basic")
    return {WORDS[variant]: runs for variant, runs in curves.items()}


def plot() -> Figure:
    """Cost and accuracy on the test images, which these runs hold out."""
    figure = plot_bands(recorded())
    for axes, label in zip(figure.axes, ("cost", "accuracy"), strict=True):
        axes.set_title(f"test {label}")
    return figure


def lecture_table() -> str:
    """Test accuracy after so many epochs."""
    rows = [{"run": "the lecture (published)"} | {str(k): v for k, v in LECTURE.items()}]
    for name, (curves,) in recorded().items():
        accuracies = curves["val/accuracy"]
        rows.append({"run": name} | {str(k): f"{accuracies[k - 1]:.4f}" for k in LECTURE})
    return plain_table(rows)


def lecture_time_table() -> str:
    """Test accuracy after the last epoch that ends within so many minutes, at measured speeds."""
    rows = []
    curves = recorded()
    for speed in read("lecture_speed"):
        (run,) = curves[speed["run"]]
        row = {"run": speed["run"], "images/s": speed["images/s"]}
        for minutes in (2, 5, 10, 20, 30):
            epochs = int(60 * minutes * float(speed["images/s"]) / MNIST_IMAGES)
            ended = 0 < epochs <= len(run["val/accuracy"])
            row[f"{minutes} min"] = f"{run['val/accuracy'][epochs - 1]:.4f}" if ended else "-"
        rows.append(row)
    return plain_table(rows)


STUDY = Study(
    "lecture",
    measurements={"lecture_speed": measure_speed},
    figures={"lecture": plot},
    tables={"lecture": lecture_table, "lecture_time": lecture_time_table},
)
