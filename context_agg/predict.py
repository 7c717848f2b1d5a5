"""Classify image files: `python -m context_agg.predict DIR IMAGE...`.

DIR is the directory of a run, or an exported one such as models/basic_mnist. The images may have
any size, be grey or coloured, light on dark or dark on light; what was done to each is printed.

If the run was trained on dense data, every pixel is classified: for each IMAGE, NAME_labels.png,
whose values are the classes, and NAME_overlay.png are written to --out (default: predictions).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser
from context_agg.data.image_files import read_image, read_scene
from context_agg.data.pixels import network_input
from context_agg.data.spec import DataSpec
from context_agg.runs.load import load_network

SHOWN = 3  # number of classes to print, the most probable first


def predict(run_dir: Path, files: Sequence[Path]) -> list[tuple[str, dict[str, float]]]:
    """For every file, describes what was done to it and gives the probability of each class.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if files are missing, are not images, or are blank; it names them all.
    """
    return classify(*load_network(run_dir), files)


def classify(
    network: nn.Module, spec: DataSpec, files: Sequence[Path]
) -> list[tuple[str, dict[str, float]]]:
    """`predict` for a network that is already loaded."""
    if spec.dense or spec.in_channels != 1:
        raise ValueError(f"the run was trained on {spec.name}, not to classify grey images")
    images = _read_all(files, lambda file: read_image(file, spec))
    probabilities = _logits(network, torch.stack([image for image, _ in images])).softmax(1)
    return [
        (description, dict(zip(spec.classes, row.tolist(), strict=True)))
        for (_, description), row in zip(images, probabilities, strict=True)
    ]


def label_pixels(
    network: nn.Module, spec: DataSpec, files: Sequence[Path]
) -> list[tuple[str, Tensor, Tensor]]:
    """For every file, what was done to it, the uint8 image (C, H, W) and its labels (H, W)."""
    if spec.in_channels not in (1, 3):
        raise ValueError(f"the run takes {spec.in_channels} channels; image files have 1 or 3")
    return [
        (description, image, _logits(network, image[None])[0].argmax(0).to(torch.uint8))
        for image, description in _read_all(files, lambda file: read_scene(file, spec))
    ]


def class_lines(network: nn.Module, spec: DataSpec, files: Sequence[Path]) -> Iterator[str]:
    """Formats the most probable classes of every file."""
    predictions = classify(network, spec, files)
    for file, (description, probabilities) in zip(files, predictions, strict=True):
        yield f"{file}: {description}"
        best = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:SHOWN]
        yield from (f"  {name:<12} {probabilities[name]:.4f}" for name in best)


def label_lines(
    network: nn.Module, spec: DataSpec, files: Sequence[Path], out: Path
) -> Iterator[str]:
    """Writes labels and overlays to a folder; yields what was found and written."""
    from context_agg.data.label_files import write_labels  # torchvision and matplotlib: seconds

    if len({file.stem for file in files}) < len(files):
        raise ValueError("two images have the same name, so their labels would be the same file")
    predictions = label_pixels(network, spec, files)
    out.mkdir(parents=True, exist_ok=True)
    for file, (description, image, labels) in zip(files, predictions, strict=True):
        yield f"{file}: {description}"
        for label, share in enumerate(torch.bincount(labels.flatten()) / labels.numel()):
            if share > 0:
                yield f"  {label:>3} = {spec.classes[label]:<12} {float(share):.4f} of the pixels"
        for written in write_labels(out / file.stem, image, labels, len(spec.classes)):
            yield f"  {written}"


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


@torch.inference_mode()
def _logits(network: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = network(network_input(images, next(network.parameters()).dtype))
    return logits


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="directory of a run")
    parser.add_argument("files", metavar="IMAGE", type=Path, nargs="+", help="image file")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where to write labels of pixels, for dense data"
    )
    given = parser.parse_args(arguments)
    with exit_on_mistake():
        network, spec = load_network(given.run_dir)
        if spec.dense:
            lines = label_lines(network, spec, given.files, given.out or Path("predictions"))
        elif given.out is not None:
            raise ValueError(f"--out={given.out}: {given.run_dir} does not label pixels")
        else:
            lines = class_lines(network, spec, given.files)
        for line in lines:
            print(line)


if __name__ == "__main__":
    main()
