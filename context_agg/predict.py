"""Classify image files: `python -m context_agg.predict DIR IMAGE...`.

DIR is the directory of a run, or an exported one such as models/basic_mnist. The images may have
any size, be grey or coloured, light on dark or dark on light; what was done to each is printed.

If the run was trained on dense data, every pixel is classified: for each IMAGE, NAME_labels.png,
whose values are the classes, and NAME_overlay.png are written to --out (default: predictions).
"""

from collections.abc import Sequence
from pathlib import Path

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser

SHOWN = 3  # number of classes to print, the most probable first


def predict(run_dir: Path, files: Sequence[Path], out: Path | None = None) -> None:
    """Prints what a run says of image files; for dense data, writes labels and overlays to `out`.

    Raises:
        FileNotFoundError: if there is no such run.
        ValueError: if files are missing, are not images, or are blank; it names them all. Nothing
            has been printed or written then.
    """
    import torch  # not at the top: --help needs none of this

    from context_agg.runs.classify import classify, label_pixels
    from context_agg.runs.load import load_network

    network, spec = load_network(run_dir)
    if not spec.dense:
        if out is not None:
            raise ValueError(f"--out={out}: {run_dir} does not label pixels")
        predictions = classify(network, spec, files)
        for file, (description, probabilities) in zip(files, predictions, strict=True):
            print(f"{file}: {description}")
            for name in sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:SHOWN]:
                print(f"  {name:<12} {probabilities[name]:.4f}")
        return
    from context_agg.data.label_files import write_labels  # torchvision and matplotlib

    if len({file.stem for file in files}) < len(files):
        raise ValueError("two images have the same name, so their labels would be the same file")
    labelled = label_pixels(network, spec, files)
    out = out or Path("predictions")
    out.mkdir(parents=True, exist_ok=True)
    for file, (description, image, labels) in zip(files, labelled, strict=True):
        print(f"{file}: {description}")
        for label, share in enumerate(torch.bincount(labels.flatten()) / labels.numel()):
            if share > 0:
                print(f"  {label:>3} = {spec.classes[label]:<12} {float(share):.4f} of the pixels")
        for written in write_labels(out / file.stem, image, labels, len(spec.classes)):
            print(f"  {written}")


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
        predict(given.run_dir, given.files, given.out)


if __name__ == "__main__":
    main()
