"""Convert the authors' networks: `python -m context_agg.convert NET FILE OUT`.

FILE is the .caffemodel of one of the networks that the paper's authors have released, and NET is
which one. It is written to the new directory OUT, which `predict` takes, and `train` as start_from.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser

NAMES = ("dilation8_voc", "dilation8_camvid", "dilation7_kitti", "dilation10_cityscapes")


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("convert", __doc__)
    parser.add_argument("net", metavar="NET", choices=NAMES, help=", ".join(NAMES))
    parser.add_argument("file", metavar="FILE", type=Path, help="its .caffemodel")
    parser.add_argument("out", metavar="OUT", type=Path, help="directory to create")
    given = parser.parse_args(arguments)
    from context_agg.cli.quiet import quiet  # not at the top: --help needs no torch

    quiet()
    from context_agg.runs.released import convert

    count = convert(given.file, given.net, given.out)
    with given.file.open("rb") as stream:
        checksum = hashlib.file_digest(stream, "sha256").hexdigest()
    print(f"read {count:,} weights of {given.net} from {given.file} (SHA-256 {checksum})")
    print(f"written to {given.out}")


if __name__ == "__main__":
    main()
