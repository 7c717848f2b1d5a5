"""How well the gradients of a layer agree with the true ones while a network trains."""

import statistics
from collections.abc import Mapping, Sequence

from studies.results import read

LAYERS = tuple(f"context.layers.{number}" for number in range(6))
"""The layers whose gradients broken gets wrong, in the post's network and in basic."""


def recorded_cosines(study: str) -> dict[str, dict[int, dict[str, float]]]:
    """By run and step, the recorded cosines of the layers; without those that do not exist.

    A layer whose true gradient is zero has none.
    """
    runs: dict[str, dict[int, dict[str, float]]] = {}
    for row in read(f"{study}_alignment"):
        run, step = row.pop("run"), int(row.pop("step"))
        cosines = {layer: float(value) for layer, value in row.items() if value}
        there = {layer: cosine for layer, cosine in cosines.items() if cosine == cosine}
        runs.setdefault(run, {})[step] = there
    return runs


def mean_cosine(cosines: Mapping[str, float], layers: Sequence[str] = LAYERS) -> float | None:
    """The mean over the layers that have one."""
    values = [cosines[layer] for layer in layers if layer in cosines]
    return statistics.fmean(values) if values else None
