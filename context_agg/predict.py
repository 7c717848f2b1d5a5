"""Classify image files: `python -m context_agg.predict DIR IMAGE...`.

DIR is the directory of a run, or an exported one such as models/basic_mnist. The images may have
any size, be grey or coloured, light on dark or dark on light; what was done to each is printed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from context_agg.data.image_files import read_image
from context_agg.trained import load_network

SHOWN = 3  # classes, the most probable first


def predict(run_dir: Path, files: Sequence[Path]) -> list[tuple[str, dict[str, float]]]:
    """For every file what was done to it, and the probability of each class.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if files are not there, no images, or blank; it names them all.
    """
    network, spec = load_network(run_dir)
    if spec.dense or spec.in_channels != 1:
        raise ValueError(f"{run_dir} was trained on {spec.name}; this classifies grey images")
    images, descriptions, refused = [], [], []
    for file in files:
        try:
            image, description = read_image(file, spec)
        except (OSError, ValueError) as error:
            refused.append(str(error))
        else:
            images.append(image)
            descriptions.append(description)
    if refused:
        raise ValueError("\n".join(refused))
    with torch.inference_mode():
        dtype = next(network.parameters()).dtype
        probabilities = network(torch.stack(images).to(dtype) / 255).softmax(1)
    return [
        (description, dict(zip(spec.classes, row.tolist(), strict=True)))
        for description, row in zip(descriptions, probabilities, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m context_agg.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="directory of a run")
    parser.add_argument("files", metavar="IMAGE", type=Path, nargs="+", help="image file")
    given = parser.parse_args(arguments)
    try:
        predictions = predict(given.run_dir, given.files)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    for file, (description, probabilities) in zip(given.files, predictions, strict=True):
        print(f"{file}: {description}")
        best = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:SHOWN]
        for name in best:
            print(f"  {name:<12} {probabilities[name]:.4f}")


if __name__ == "__main__":
    main()
