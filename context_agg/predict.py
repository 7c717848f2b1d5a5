"""Classify image files: `python -m context_agg.predict DIR IMAGE...`.

DIR is the directory of a run, or an exported one such as models/basic_mnist. The images may have
up to 100 million pixels, and be grey or coloured. Each is converted to the channels and scaled to
the size of the training images; for a run on digits it may be light on dark or dark on light, and
is prepared as MNIST was. What was done to each is printed.

If the run was trained on dense data, every pixel is classified, in tiles, so that the image may
have any size: for each IMAGE, NAME_labels.png, whose values are the classes, and NAME_overlay.png
are written to --out (default: predictions), which must not be the folder of an IMAGE. IMAGE may
then be a folder of images too, such as the frames of a video, which are taken in the order of their
numbers; contact_sheet.png shows them all.

An image that cannot be read does not stop the others; the exit code is then 1.
"""

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser
from context_agg.cli.places import check_writable

if TYPE_CHECKING:
    from torch import nn

    from context_agg.data.contact_sheet import ContactSheet
    from context_agg.data.spec import DataSpec

SHOWN = 3  # number of classes to print, the most probable first
LEAST_TILE = 32  # pixels
MOST_SCALE = 100


def predict(
    run_dir: Path,
    files: Sequence[Path],
    out: Path | None = None,
    tile: int | None = None,
    scale: float | None = None,
) -> None:
    """Prints what a run says of image files, each as soon as it is known.

    What is wrong with a file goes to stderr, and the next file follows. `label` describes `out`,
    `tile` and `scale`; a run on dense data takes folders of images too.

    Raises:
        FileNotFoundError: if there is no such run, or no image in a folder.
        ValueError: if the arguments do not fit together, before the first file is read; at the
            end, if any file has no result.
        SystemExit: if `out` cannot be written.
    """
    # not at the top: --help needs no torch
    from context_agg.runs.classify import TILE, check_network
    from context_agg.runs.load import load_network

    network, spec = load_network(run_dir)
    check_network(spec, dense=spec.dense)
    answer, sheet = partial(say, network, spec), None
    if spec.dense:
        out, tile = out or Path("predictions"), TILE if tile is None else tile
        scale = 1.0 if scale is None else scale
        check_tile(tile)
        check_scale(scale)
        check_writable("--out", str(out))
        folders = any(file.is_dir() for file in files)
        files = with_folders(files)
        check_apart(files, out)
        check_names(files)
        sheet = contact_sheet(out, spec) if folders else None
        answer = partial(label, network, spec, out=out, tile=tile, scale=scale, sheet=sheet)
    for name, value in (("out", out), ("tile", tile), ("scale", scale)):
        if value is not None and not spec.dense:
            raise ValueError(f"--{name}={value}: {run_dir} does not label pixels")
    failed = 0
    for file in files:
        try:
            lines = list(answer(file))
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr, flush=True)
            failed += 1
        else:
            print(*lines, sep="\n", flush=True)
    for page in sheet.finish() if sheet else ():
        print(page)
    if failed:
        raise ValueError(f"{failed} of {len(files)} files have no result")


def say(network: "nn.Module", spec: "DataSpec", file: Path) -> Iterator[str]:
    """The lines on an image: what was done to it, and its most probable classes."""
    from context_agg.runs.classify import classify

    description, probabilities = classify(network, spec, file)
    yield f"{file}: {description}"
    for name in sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:SHOWN]:
        yield f"  {name:<12} {probabilities[name]:.4f}"


def label(
    network: "nn.Module",
    spec: "DataSpec",
    file: Path,
    out: Path,
    tile: int,
    scale: float,
    sheet: "ContactSheet | None",
) -> Iterator[str]:
    """Writes labels and overlay of an image to `out`; the lines on it, with each class's share.

    Args:
        network: labels the pixels.
        spec: of the data that it was trained on.
        file: the image.
        out: folder, which is made if it is not there.
        tile: the most pixels of the height and the width that are computed at a time.
        scale: by which the image is enlarged or reduced for the network.
        sheet: shows the overlay too.
    """
    import torch

    from context_agg.data.label_files import overlay_of, write_labels  # matplotlib
    from context_agg.runs.classify import label_pixels, size_notice

    description, image, labels = label_pixels(network, spec, file, tile, scale)
    yield f"{file}: {description}"
    if notice := size_notice(spec, image, scale):
        yield f"  {notice}"
    counts = torch.bincount(labels.flatten()).tolist()
    occurring = {number for number, count in enumerate(counts) if count > 0}
    for number in sorted(occurring):
        share = counts[number] / labels.numel()
        yield f"  {number:>3} = {spec.classes[number]:<12} {share:.4f} of the pixels"
    overlay = overlay_of(image, labels, spec.classes)
    for written in write_labels(out / file.stem, labels, overlay, spec.classes):
        yield f"  {written}"
    if sheet is not None:
        yield from map(str, sheet.add(file.name, overlay, occurring))


def contact_sheet(out: Path, spec: "DataSpec") -> "ContactSheet":
    """An empty contact sheet."""
    from context_agg.data.contact_sheet import ContactSheet  # matplotlib

    return ContactSheet(out, spec.classes)


def with_folders(files: Sequence[Path]) -> list[Path]:
    """The files, with the images of a folder in its place."""
    from context_agg.data.image_folder import images_in  # torch

    return [image for file in files for image in (images_in(file) if file.is_dir() else [file])]


def check_tile(tile: int) -> None:
    """Refuses tiles that are hardly more than margin."""
    from context_agg.ops.checks import check_whole  # torch

    check_whole("--tile", tile, LEAST_TILE)


def check_scale(scale: float) -> None:
    """Refuses a factor that no image can be scaled by."""
    if not 0 < scale <= MOST_SCALE:
        raise ValueError(f"--scale={scale} must be above 0, and {MOST_SCALE} at the most")


def check_apart(files: Sequence[Path], out: Path) -> None:
    """Refuses to write into the folder of an image: images there could be overwritten."""
    folder = out.resolve()
    for file in files:
        if folder in (file.parent.resolve(), file.resolve().parent):  # a link lies in two
            raise ValueError(f"--out={out} is the folder of the image {file}; name another")


def check_names(files: Sequence[Path]) -> None:
    """Refuses images whose labels would be written to the same file."""
    first: dict[str, Path] = {}
    for file in files:
        if (other := first.setdefault(file.stem, file)) is not file:
            raise ValueError(
                f"{other} and {file} have the same name, so their labels would be the same file; "
                "rename one, or call predict for each with an --out of its own"
            )


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("predict", __doc__)
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="directory of a run")
    parser.add_argument(
        "files", metavar="IMAGE", type=Path, nargs="+", help="image file, or folder"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="where to write labels of pixels, for dense data"
    )
    parser.add_argument(
        "--tile",
        metavar="PIXELS",
        type=int,
        help="for dense data, how much of an image is computed at a time (default: 512)",
    )
    parser.add_argument(
        "--scale",
        metavar="FACTOR",
        type=float,
        help="for dense data, the network sees the image scaled by it (default: 1); the labels "
        "have the image's own size",
    )
    given = parser.parse_args(arguments)
    predict(given.run_dir, given.files, given.out, given.tile, given.scale)


if __name__ == "__main__":
    main()
