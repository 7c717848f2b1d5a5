"""Street scenes: a front end, context modules on top of it, and both trained together."""

from statistics import fmean

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from context_agg.analysis.colours import COLORS
from context_agg.data.palette import colourise
from context_agg.data.pixels import network_input
from context_agg.data.spec import VOID
from context_agg.runs.intervals import estimate
from context_agg.runs.load import load_network
from context_agg.runs.table import as_markdown
from studies.plots import draw_dots, draw_seeds
from studies.results import FIGURES, ROOT, recorded_curves
from studies.scenes import class_patches
from studies.study import Study
from studies.tables import Runs, compared, plain_table, scores

IDENTITY, XAVIER = (
    f"basic/front_end.lift-{{}}_model.init-{init}" for init in ("identity", "xavier")
)
VARIANTS = {  # in the order of the stages
    "front_end": "front end",
    "front_end_longer": "front end, 20 epochs more",
    "plain": "plain, identity, lifted",
    IDENTITY.format(0): "basic, identity",
    IDENTITY.format(2): "basic, identity, lifted",
    XAVIER.format(0): "basic, xavier",
    XAVIER.format(2): "basic, xavier, lifted",
    "large": "large, identity, lifted",
    "alone": "basic, identity, lifted, 10 epochs more",
    "joint": "basic, identity, lifted, then 10 joint",
}
SHADES = {
    "front_end": COLORS[1],
    "plain": COLORS[3],
    IDENTITY.format(2): COLORS[0],
    XAVIER.format(2): COLORS[2],
}
"""A colour for the variants whose epochs are drawn."""
PAPER = {  # Table 5 of the paper: IoU of Dilation8 on the test images, in per cent
    "sky": 89.9,
    "building": 82.6,
    "pole": 23.4,
    "road": 92.2,
    "sidewalk": 75.3,
    "tree": 76.2,
    "sign": 46.9,
    "fence": 35.8,
    "car": 84.0,
    "pedestrian": 56.3,
    "bicyclist": 55.5,
}
CLASSES = tuple(PAPER)
STREETS = FIGURES / "camvid"  # test images as shipped, and their labels
MODELS = {"camvid_front_end": "front end", "camvid_context": "with context", "camvid": "joint"}


BASELINES = {  # what each variant is compared with: the same, but for one thing
    "front_end_longer": "front_end",
    IDENTITY.format(0): "front_end_longer",
    IDENTITY.format(2): "front_end_longer",
    XAVIER.format(0): IDENTITY.format(0),
    XAVIER.format(2): IDENTITY.format(2),
    "plain": IDENTITY.format(2),
    "joint": "alone",
}


def recorded() -> dict[str, Runs]:
    """The recorded scores of each variant, in the order of the stages."""
    return {name: scores("camvid", name.partition("/")[0]).get(name, {}) for name in VARIANTS}


def stage_table() -> str:
    """Test IoU and accuracy of every variant, and its difference from the one beside it."""
    variants = {VARIANTS[name]: runs for name, runs in recorded().items()}
    baselines = {VARIANTS[name]: VARIANTS[other] for name, other in BASELINES.items()}
    return as_markdown(compared(variants, baselines), ("test/iou", "test/accuracy"))


def class_table() -> str:
    """Test IoU of every class, mean ± interval over the seeds, beside the paper's; in per cent."""
    found = {name: list(runs.values()) for name, runs in recorded().items() if runs}
    shown = [name for name in ("front_end", IDENTITY.format(2), "joint") if name in found]
    rows = []
    for name in (*CLASSES, "mean"):
        key = "test/iou" if name == "mean" else f"test/iou_{name}"
        cells = {
            VARIANTS[variant]: f"{mean:.1f} ± {half:.1f}"
            for variant in shown
            for mean, half, _ in [estimate([100 * run[key] for run in found[variant]])]
        }
        paper = fmean(PAPER.values()) if name == "mean" else PAPER[name]
        rows.append({"class": name, **cells, "paper, Dilation8": f"{paper:.1f}"})
    return plain_table(rows)


def plot_stages() -> Figure:
    """Test mean IoU of every seed; held-out mean IoU by epoch of some variants."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    dots = {
        VARIANTS[name]: [run["test/iou"] for run in runs.values()]
        for name, runs in recorded().items()
    }
    draw_dots(left, dots, {VARIANTS[name]: color for name, color in SHADES.items()})
    left.set(xlabel="mean IoU, 233 test images")
    for name, color in SHADES.items():
        curves = recorded_curves("camvid", name.partition("/")[0]).get(name, [])
        draw_seeds(right, [run["val/iou"] for run in curves], color, label=VARIANTS[name])
    right.set(xlabel="epoch of the stage", ylabel="mean IoU, 101 held-out images")
    right.legend(fontsize="small")
    return figure


def street(name: str) -> tuple[Tensor, Tensor]:
    """An image (3, H, W), uint8, and its labels (H, W)."""
    image = np.array(Image.open(STREETS / f"{name}.png").convert("RGB"))
    labels = np.array(Image.open(STREETS / f"{name}_labels.png"))
    return torch.from_numpy(image).movedim(-1, 0), torch.from_numpy(labels)


def plot_streets() -> Figure:
    """Test images, their labels, and what the three stages answer; void pixels are white."""
    names = sorted(file.stem for file in STREETS.glob("*.png") if "_labels" not in file.stem)
    images, truth = (torch.stack(parts) for parts in zip(*map(street, names), strict=True))
    truth = truth.where(truth < len(CLASSES), VOID)
    columns = {"image": images, "truth": colourise(truth, CLASSES)}
    for model, title in MODELS.items():
        network, _ = load_network(ROOT / "models" / model)
        with torch.no_grad():
            answer = network(network_input(images)).argmax(1)
        columns[title] = colourise(answer.where(truth != VOID, VOID), CLASSES)
    figure = Figure(figsize=(9, 1.5 * len(names) + 0.6), layout="constrained")
    panels = figure.subplots(len(names), len(columns), squeeze=False)
    for column, (title, pictures) in zip(panels.T, columns.items(), strict=True):
        column[0].set_title(title, fontsize="medium")
        for axes, picture in zip(column, pictures, strict=True):
            axes.imshow(picture.movedim(0, -1).numpy())
            axes.set_axis_off()
    figure.legend(
        handles=class_patches(CLASSES),
        loc="outside lower center",
        ncols=len(CLASSES) + 1,
        handlelength=1,
        columnspacing=0.8,
        handletextpad=0.3,
        fontsize="small",
    )
    return figure


STUDY = Study(
    "camvid",
    models={
        "camvid_front_end": ("front_end/seed-0",),
        "camvid_context": (f"{IDENTITY.format(2)}/seed-0",),
        "camvid": ("joint/seed-0",),
    },
    figures={"camvid": plot_stages, "camvid_streets": plot_streets},
    tables={
        "camvid": stage_table,
        "camvid_classes": class_table,
    },
)
