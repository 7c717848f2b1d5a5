"""The curves of a run: loss and accuracy by epoch, from its event files."""

from pathlib import Path

from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

SCALARS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy")


def read_curves(run_dir: Path) -> dict[str, list[float]]:
    """The scalars that a run logs once an epoch, in the order of the epochs.

    Raises:
        FileNotFoundError: if the directory holds no such scalars.
    """
    events = EventAccumulator(str(run_dir), size_guidance={"scalars": 0})
    events.Reload()
    missing = set(SCALARS) - set(events.Tags()["scalars"])
    if missing:
        raise FileNotFoundError(f"no {', '.join(sorted(missing))} in the event files of {run_dir}")
    return {name: [event.value for event in events.Scalars(name)] for name in SCALARS}


def plot_curves(curves: dict[str, list[float]], held_out: str) -> Figure:
    """Four panels, as in the 2018 post: cost and accuracy, of training and of held-out images."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True)
    for row, (quantity, label) in zip(
        panels, (("loss", "cost"), ("accuracy", "accuracy")), strict=True
    ):
        for axes, (stage, title) in zip(
            row, (("train", "training"), ("val", f"held-out ({held_out})")), strict=True
        ):
            values = curves[f"{stage}/{quantity}"]
            axes.plot(range(1, len(values) + 1), values, marker="." if len(values) < 50 else "")
            axes.set(title=f"{label}, {title}", ylabel=label)
            axes.grid(alpha=0.3)
    for axes in panels[1]:
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def save_curves(run_dir: Path, held_out: str) -> None:
    """Draws a run's curves from its event files into curves.png beside them."""
    plot_curves(read_curves(run_dir), held_out).savefig(run_dir / "curves.png", dpi=100)
