"""Figures of dilated convolution: which samples a kernel sees, and the edges it finds."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from context_agg.analysis.reference import EDGE_KERNEL, cross_image, dilated_conv


def plot_taps(dilations: Sequence[int] = (1, 2, 4)) -> Figure:
    """Draws which of the samples 1..10 the first output of a 3-tap kernel sees, by dilation."""
    signal = range(1, 11)
    figure = Figure(figsize=(8, 5), layout="constrained")
    panels = figure.subplots(len(dilations), 1, sharex=True)
    for axes, dilation in zip(panels, dilations, strict=True):
        axes.plot(range(len(signal)), signal, "o", color="#56B4E9")
        used = [0, dilation, 2 * dilation]
        stem = axes.stem(used, [signal[i] for i in used], linefmt="--", markerfmt="*", basefmt=" ")
        stem.markerline.set_color("#D55E00")
        stem.stemlines.set_color("#D55E00")
        axes.set_ylabel("value")
        axes.set_title(f"dilation {dilation}: the first output spans {1 + 2 * dilation} samples")
        axes.grid(alpha=0.3)
    panels[-1].set_xlabel("position")
    return figure


def plot_edges(dilations: Sequence[int] = (1, 2)) -> Figure:
    """Draws the cross and its edges, by dilation."""
    image = cross_image()
    figure = Figure(figsize=(3.2 * (1 + len(dilations)), 3.2), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(dilations))
    first.imshow(image, cmap="gray")
    first.set_title(f"image, {image.shape[0]}x{image.shape[1]}")
    for axes, dilation in zip(others, dilations, strict=True):
        edges = dilated_conv(image, EDGE_KERNEL, dilation)
        shown = axes.imshow(edges, cmap="RdBu", vmin=-6, vmax=6)
        side = 1 + 2 * dilation
        axes.set_title(f"dilation {dilation} sees {side}x{side}: {edges.shape[0]}x{edges.shape[1]}")
    figure.colorbar(shown, ax=others, shrink=0.8, label="output")
    for axes in (first, *others):
        axes.set_axis_off()
    return figure
