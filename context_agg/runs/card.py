"""The model card: what a trained network is, how good it is, and how to load it."""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from context_agg.cli.no_result import NO_RESULT
from context_agg.data.spec import FOR_RESEARCH, DataSpec
from context_agg.runs.directory import METRICS, PROGRAM, WEIGHTS
from context_agg.runs.finished import changed_settings
from context_agg.runs.intervals import estimate
from context_agg.runs.records import read_scores
from context_agg.runs.settings import read_resolved, read_unresolved

SHOWN = ("seed", "backprop", "start_from", "model", "loss", "optimizer", "schedule")

LOAD = {
    WEIGHTS: """\
from pathlib import Path

import torch
from context_agg.runs.load import load_network

network, _ = load_network(Path("."))  # this folder
""",
    PROGRAM: """\
import torch

from torch.export.passes import move_to_device_pass

program = torch.export.load("model.pt2")  # needs PyTorch and nothing else
network = move_to_device_pass(program, "cpu").module()  # or "cuda"
""",
}
USE = """\
images = torch.zeros({shape}, dtype=torch.uint8)  # bytes: 0 is black, 255 white
logits = network(images.to(torch.{dtype}) / 255)  # ({logits})
"""


def seeds_of(run_dir: Path) -> dict[int, Mapping[str, float]]:
    """The scores of a run, and of the runs beside it in a sweep that differ in the seed alone.

    What follows from the seed, such as `start_from: FRONT_END/seed-${seed}`, differs with it. A run
    whose files are damaged is named on stderr and left out.

    Raises:
        OSError, ValueError: if the scores of the run itself cannot be read.
    """
    cfg = read_unresolved(run_dir)
    scores: dict[int, Mapping[str, float]] = {cfg.seed: read_scores(run_dir)}
    for other in sorted(run_dir.absolute().parent.glob("seed-*")):
        if not (other / METRICS).is_file() or other.samefile(run_dir):
            continue
        try:
            seed = read_resolved(other).get("seed")
            if not isinstance(seed, int) or seed in scores:
                continue
            cfg.seed = seed
            if not changed_settings(other, cfg):
                scores[seed] = read_scores(other)
        except (OSError, ValueError) as error:
            print(f"left out of the intervals: {error}", file=sys.stderr)
    return dict(sorted(scores.items()))


def model_card(
    name: str,
    cfg: DictConfig,
    spec: DataSpec,
    scores: Mapping[int, Mapping[str, float]],
    dtype: str,
    file: str,
    least: int | None = None,
) -> str:
    """Describes a network in Markdown.

    Args:
        name: what it is called.
        cfg: the configuration of its run, without interpolations.
        spec: the data that it was trained on.
        scores: by seed; with those of other runs the card has intervals.
        dtype: of its weights, as torch calls it.
        file: what it is in, `WEIGHTS` or `PROGRAM`.
        least: for a program of dense data, the fewest pixels of an image's sides.
    """
    height, width = spec.image_size
    shape = f"2, {spec.in_channels}, {height}, {width}"
    logits = f"N, {len(spec.classes)}"
    takes = f"N, {spec.in_channels}, {height}, {width}"
    if spec.dense:
        logits += ", height, width"
        takes = f"N, {spec.in_channels}, height, width"
    size = " and size" if spec.dense else ""
    if least is not None and least > 1:
        size += f" from {least} pixels a side"
    whole: Any = OmegaConf.to_container(cfg)
    settings = {key: whole[key] for key in SHOWN if whole.get(key) is not None}
    settings["data"] = {
        key: value for key, value in whole["data"].items() if f"data.{key}" not in NO_RESULT
    }
    settings["trainer"] = {key: whole["trainer"][key] for key in ("max_epochs", "precision")}
    terms = ""
    if spec.name in FOR_RESEARCH:
        terms = f"{spec.name} is for research; so is this network.\n\n"
    return f"""\
# {name}

A {cfg.model._target_.rpartition(".")[2]} of context_agg {version("context_agg")} that gives a \
class to each {"pixel" if spec.dense else "image"}.

## Data

It was trained on {spec.name}: images of {spec.in_channels}x{height}x{width} (channels, height, \
width) in {len(spec.classes)} classes: {", ".join(spec.classes)}.

- It takes images ({takes}) of any number{size}, {dtype}, \
from 0 (black) to 1 (white){", of something light on black" if spec.ink else ""}.
- It returns logits ({logits}).

{terms}\
## Scores

{_table(cfg.seed, scores)}
These are the scores on the test images. Of the checkpoints of {int(scores[cfg.seed]["epochs"])} \
epochs, the best on held-out images was taken.

## Configuration

```yaml
{yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=96)}```

## How to load

```python
{LOAD[file]}{USE.format(shape=shape, dtype=dtype, logits=logits)}```
"""


def _table(seed: int, scores: Mapping[int, Mapping[str, float]]) -> str:
    names = [name for name in scores[seed] if name.startswith("test/")]
    if len(scores) == 1:
        lines = ["| score | this network |", "| --- | ---: |"]
        lines += [f"| {name} | {scores[seed][name]:.4f} |" for name in names]
        return "\n".join(lines) + "\n"
    seeds = ", ".join(map(str, scores))
    lines = [f"| score | this network | mean and 95 % interval, seeds {seeds} |"]
    lines += ["| --- | ---: | ---: |"]
    for name in names:
        values = [run[name] for run in scores.values() if name in run]
        mean, half, _ = estimate(values)
        lines.append(f"| {name} | {scores[seed][name]:.4f} | {mean:.4f} ± {half:.4f} |")
    return "\n".join(lines) + "\n"
