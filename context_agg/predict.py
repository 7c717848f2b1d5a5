"""Classify image files: `python -m context_agg.predict DIR IMAGE...`.

DIR is the directory of a run, or an exported one such as models/basic_mnist. The images may have
any size, be grey or coloured, light on dark or dark on light; what was done to each is printed.

A run on dense data classifies every pixel: for each IMAGE it writes NAME_labels.png, whose values
are the classes, with a palette, and NAME_overlay.png into a folder (--out, else predictions).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.utils import draw_segmentation_masks

from context_agg.data.image_files import read_image, read_scene
from context_agg.data.palette import palette
from context_agg.data.spec import DataSpec
from context_agg.runs.load import load_network

SHOWN = 3  # classes, the most probable first


def predict(run_dir: Path, files: Sequence[Path]) -> list[tuple[str, dict[str, float]]]:
    """For every file what was done to it, and the probability of each class.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if files are not there, no images, or blank; it names them all.
    """
    return _predict_classes(*load_network(run_dir), files)


def _predict_classes(
    network: nn.Module, spec: DataSpec, files: Sequence[Path]
) -> list[tuple[str, dict[str, float]]]:
    if spec.dense or spec.in_channels != 1:
        raise ValueError(f"the run was trained on {spec.name}; this classifies grey images")
    images = _read_all(files, lambda file: read_image(file, spec))
    probabilities = _logits(network, torch.stack([image for image, _ in images])).softmax(1)
    return [
        (description, dict(zip(spec.classes, row.tolist(), strict=True)))
        for (_, description), row in zip(images, probabilities, strict=True)
    ]


def _predict_labels(
    network: nn.Module, spec: DataSpec, files: Sequence[Path]
) -> list[tuple[str, Tensor, Tensor]]:
    """For every file what was done to it, the image (C, H, W), uint8, and its labels (H, W)."""
    if not spec.dense:
        raise ValueError(f"the run was trained on {spec.name}: a class per image, not per pixel")
    if spec.in_channels not in (1, 3):
        raise ValueError(f"the run takes {spec.in_channels} channels; image files have 1 or 3")
    return [
        (description, image, _logits(network, image[None])[0].argmax(0).to(torch.uint8))
        for image, description in _read_all(files, lambda file: read_scene(file, spec))
    ]


def write_labels(file: Path, image: Tensor, labels: Tensor, num_classes: int) -> list[Path]:
    """Writes FILE_labels.png and FILE_overlay.png; returns their paths.

    Shape: image (C, H, W), uint8, labels (H, W).
    """
    colours = palette(num_classes)
    picture = Image.fromarray(labels.numpy()).convert("P")
    picture.putpalette(colours.flatten().tolist())
    masks = labels == torch.arange(1, num_classes)[:, None, None]  # the background stays as it is
    overlay = draw_segmentation_masks(
        image.expand(3, -1, -1), masks, alpha=0.6, colors=colours[1:num_classes].tolist()
    )
    written = [file.with_name(f"{file.name}_{kind}.png") for kind in ("labels", "overlay")]
    picture.save(written[0])
    Image.fromarray(overlay.movedim(0, -1).numpy()).save(written[1])
    return written


def _read_all(
    files: Sequence[Path], read: Callable[[Path], tuple[Tensor, str]]
) -> list[tuple[Tensor, str]]:
    images, refused = [], []
    for file in files:
        try:
            images.append(read(file))
        except (OSError, ValueError) as error:
            refused.append(str(error))
    if refused:
        raise ValueError("\n".join(refused))
    return images


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = network(images.to(next(network.parameters()).dtype) / 255)
    return logits


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m context_agg.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="directory of a run")
    parser.add_argument("files", metavar="IMAGE", type=Path, nargs="+", help="image file")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="of a dense run: where the labels are written"
    )
    given = parser.parse_args(arguments)
    try:
        network, spec = load_network(given.run_dir)
        if spec.dense:
            _main_labels(network, spec, given.files, given.out or Path("predictions"))
        elif given.out is not None:
            raise ValueError(f"--out={given.out}: {given.run_dir} gives no labels of pixels")
        else:
            _main_classes(network, spec, given.files)
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def _main_labels(network: nn.Module, spec: DataSpec, files: Sequence[Path], out: Path) -> None:
    if len({file.stem for file in files}) < len(files):
        raise ValueError("two of the images have the same name; their labels would be one file")
    predictions = _predict_labels(network, spec, files)
    out.mkdir(parents=True, exist_ok=True)
    for file, (description, image, labels) in zip(files, predictions, strict=True):
        print(f"{file}: {description}")
        for label, share in enumerate(torch.bincount(labels.flatten()) / labels.numel()):
            if share > 0:
                print(f"  {label:>3} = {spec.classes[label]:<12} {float(share):.4f} of the pixels")
        for written in write_labels(out / file.stem, image, labels, len(spec.classes)):
            print(f"  {written}")


def _main_classes(network: nn.Module, spec: DataSpec, files: Sequence[Path]) -> None:
    predictions = _predict_classes(network, spec, files)
    for file, (description, probabilities) in zip(files, predictions, strict=True):
        print(f"{file}: {description}")
        best = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:SHOWN]
        for name in best:
            print(f"  {name:<12} {probabilities[name]:.4f}")


if __name__ == "__main__":
    main()
