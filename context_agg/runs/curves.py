"""Reads and draws the curves of a run, loss and accuracy by epoch, from its event files."""

from pathlib import Path
from textwrap import fill

from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from context_agg.analysis.colours import variant_style
from context_agg.cli.quiet import quiet_tensorboard

SCALARS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
IOU = "val/iou"  # for dense data only


def read_curves(run_dir: Path) -> dict[str, list[float]]:
    """The scalars that a run logs once per epoch, in order; with IoU if the run has it.

    Raises:
        FileNotFoundError: if the directory does not have these scalars.
        ValueError: if its event files cannot be read, or lack some of the values.
    """
    quiet_tensorboard()
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    try:
        events.Reload()
    except Exception as error:  # whatever a file can contain
        raise ValueError(f"cannot read the event files of {run_dir}: {error}") from error
    tags = events.Tags()["scalars"]
    missing = set(SCALARS) - set(tags)
    if missing:
        raise FileNotFoundError(f"no {', '.join(sorted(missing))} in the event files of {run_dir}")
    names = (*SCALARS, IOU) if IOU in tags else SCALARS
    curves = {name: [event.value for event in events.Scalars(name)] for name in names}
    if len({len(values) for values in curves.values()}) > 1:
        counts = ", ".join(f"{len(values)} of {name}" for name, values in curves.items())
        raise ValueError(f"the event files of {run_dir} lack some of the values: {counts}")
    return curves


def plot_curves(curves: dict[str, list[float]], held_out: str) -> Figure:
    """Draws four panels, as in the 2018 post: cost and accuracy on training and held-out images.

    For dense data the mean IoU is drawn in the panel of the held-out accuracy too.
    """
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for row, (quantity, label) in zip(
        panels, (("loss", "cost"), ("accuracy", "accuracy")), strict=True
    ):
        for axes, (stage, title) in zip(
            row, (("train", "training"), ("val", f"held-out ({held_out})")), strict=True
        ):
            values = curves[f"{stage}/{quantity}"]
            axes.plot(range(1, len(values) + 1), values, marker=_marker(values))
            axes.set(title=f"{label}, {title}", ylabel=label)
            axes.grid(alpha=0.3)
    if IOU in curves:
        panels[1, 1].lines[0].set_label("accuracy")
        iou = curves[IOU]
        panels[1, 1].plot(range(1, len(iou) + 1), iou, "--", marker=_marker(iou), label="mean IoU")
        panels[1, 1].legend()
    for axes in panels[1]:
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def plot_bands(variants: dict[str, list[dict[str, list[float]]]]) -> Figure:
    """Draws held-out cost and accuracy by epoch: the mean and the range of each variant's runs.

    The mean IoU replaces the accuracy if all runs have it.

    Each variant is drawn up to the length of its shortest run. Variants differ in colour, from the
    palette of Okabe and Ito, and in line style.
    """
    figure = Figure(figsize=(8, 4 + 0.2 * len(variants)), layout="constrained")
    panels = figure.subplots(1, 2)
    dense = all(IOU in run for runs in variants.values() for run in runs)
    score = ("iou", "mean IoU") if dense else ("accuracy", "accuracy")
    for axes, (quantity, label) in zip(panels, (("loss", "cost"), score), strict=True):
        for number, (variant, runs) in enumerate(variants.items()):
            by_epoch = list(zip(*(run[f"val/{quantity}"] for run in runs), strict=False))
            epochs = range(1, len(by_epoch) + 1)
            color, linestyle = variant_style(number)
            means = [sum(values) / len(values) for values in by_epoch]
            (line,) = axes.plot(epochs, means, marker="." if len(means) == 1 else "")
            line.set(color=color, linestyle=linestyle)
            line.set_label(fill(variant, 90) if quantity == "loss" else "")
            low, high = [min(values) for values in by_epoch], [max(values) for values in by_epoch]
            axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0)
        axes.set(title=f"held-out {label}", xlabel="epoch", ylabel=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[0].set_yscale("log")
    figure.legend(loc="outside lower center")
    return figure


def _marker(values: list[float]) -> str:
    """Shows each of a few epochs; of one alone there is no line."""
    return "." if len(values) < 50 else ""


def save_curves(run_dir: Path, held_out: str) -> None:
    """Draws a run's curves from its event files and saves them as curves.png beside them.

    Event files that have been damaged or deleted cost the picture, not the run; a line says so.
    """
    try:
        curves = read_curves(run_dir)
    except (FileNotFoundError, ValueError) as error:
        print(f"no curves.png: {error}")
        return
    plot_curves(curves, held_out).savefig(run_dir / "curves.png", dpi=100)
