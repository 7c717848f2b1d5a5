"""Classify image files: `python -m context_agg.predict DIR IMAGE...`.

DIR is the directory of a run, or an exported one such as models/basic_mnist. The images may have
up to 100 million pixels, be grey or coloured, light on dark or dark on light; what was done to each
is printed.

If the run was trained on dense data, every pixel is classified: for each IMAGE, NAME_labels.png,
whose values are the classes, and NAME_overlay.png are written to --out (default: predictions).

An image that cannot be answered costs its own answer only; the exit code is then 1.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser

if TYPE_CHECKING:
    from torch import nn

    from context_agg.data.spec import DataSpec

SHOWN = 3  # number of classes to print, the most probable first


def predict(run_dir: Path, files: Sequence[Path], out: Path | None = None) -> None:
    """Prints what a run says of image files, each as soon as it is known; see `label` for `out`.

    What is wrong with a file goes to stderr, and the next file follows.

    Raises:
        FileNotFoundError: if there is no such run.
        OSError, ValueError: if the arguments do not fit together or `out` cannot be written, before
            the first file is read; at the end, if any file has no answer.
    """
    from context_agg.runs.classify import check_network  # not at the top: --help needs no torch
    from context_agg.runs.load import load_network

    network, spec = load_network(run_dir)
    check_network(spec, dense=spec.dense)
    if spec.dense:
        out = out or Path("predictions")
        check_names(files)
        check_folder(out)
    elif out is not None:
        raise ValueError(f"--out={out}: {run_dir} does not label pixels")
    unanswered = 0
    for file in files:
        try:
            lines = list(label(network, spec, file, out) if out else say(network, spec, file))
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr, flush=True)
            unanswered += 1
        else:
            print(*lines, sep="\n", flush=True)
    if unanswered:
        raise ValueError(f"{unanswered} of {len(files)} files could not be answered")


def say(network: "nn.Module", spec: "DataSpec", file: Path) -> Iterator[str]:
    """The lines on an image: what was done to it, and its most probable classes."""
    from context_agg.runs.classify import classify

    description, probabilities = classify(network, spec, file)
    yield f"{file}: {description}"
    for name in sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:SHOWN]:
        yield f"  {name:<12} {probabilities[name]:.4f}"


def label(network: "nn.Module", spec: "DataSpec", file: Path, out: Path) -> Iterator[str]:
    """Writes labels and overlay of an image to `out`; the lines on it, with each class's share."""
    import torch

    from context_agg.data.label_files import write_labels  # matplotlib
    from context_agg.runs.classify import label_pixels

    description, image, labels = label_pixels(network, spec, file)
    yield f"{file}: {description}"
    for number, count in enumerate(torch.bincount(labels.flatten()).tolist()):
        if count > 0:
            share = count / labels.numel()
            yield f"  {number:>3} = {spec.classes[number]:<12} {share:.4f} of the pixels"
    for written in write_labels(out / file.stem, image, labels, len(spec.classes)):
        yield f"  {written}"


def check_names(files: Sequence[Path]) -> None:
    """Refuses images whose labels would be written to the same file."""
    first: dict[str, Path] = {}
    for file in files:
        if (other := first.setdefault(file.stem, file)) is not file:
            raise ValueError(
                f"{other} and {file} have the same name, so their labels would be the same file; "
                "rename one, or call predict for each with an --out of its own"
            )


def check_folder(out: Path) -> None:
    """Refuses a folder that cannot be written, or made; leaves nothing there."""
    existing = next(folder for folder in (out, *out.parents) if os.path.exists(folder))
    try:
        with TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OSError(
            f"--out={out}: cannot write to {existing} ({error.strerror}); name another folder"
        ) from error


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="directory of a run")
    parser.add_argument("files", metavar="IMAGE", type=Path, nargs="+", help="image file")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where to write labels of pixels, for dense data"
    )
    given = parser.parse_args(arguments)
    predict(given.run_dir, given.files, given.out)


if __name__ == "__main__":
    main()
