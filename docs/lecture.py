"""Measures how fast the lecture's network and the context module train: a part of `make lecture`.

The two take turns on one thread, so that what else the machine does meets both.
"""

import statistics
import time
from collections.abc import Iterator

import torch
from recorded import record
from steps import batch_of, step

from context_agg.cli.compose import compose_config
from context_agg.cli.quiet import quiet
from context_agg.runs.build import build

BATCHES, ROUNDS = 12, 5  # of 128 images; the first round warms up and does not count
NETWORKS = {
    "model.init-default": ("experiment=lecture_mnist",),
    "model-basic": ("experiment=lecture_mnist", "model=basic", "backprop=auto"),
}


def measure() -> Iterator[list[str]]:
    """Images a second in training, median, least and most of the rounds."""
    torch.set_num_threads(1)
    learners = {name: build(compose_config(*overrides)) for name, overrides in NETWORKS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for _ in range(1 + ROUNDS):
        for name, (data, learner) in learners.items():
            start = time.perf_counter()
            for batch in torch.split(torch.arange(BATCHES * data.batch_size), data.batch_size):
                x, target = batch_of(data.train, batch)
                step(learner.network, learner.loss, learner.optimizer, x, target)
            speeds[name].append(BATCHES * data.batch_size / (time.perf_counter() - start))
    yield ["run", "images/s", "least", "most"]
    for name, (_, *counted) in speeds.items():
        values = (statistics.median(counted), min(counted), max(counted))
        yield [name, *(f"{value:.0f}" for value in values)]


if __name__ == "__main__":
    quiet()
    record("lecture_speed", measure)
