"""Lists the commands: `python -m context_agg`."""

import sys

COMMANDS = """\
The commands of context_agg:

python -m context_agg.train      trains a network, or sweeps over many
python -m context_agg.tune       searches for the best settings of a run
python -m context_agg.report     compares the runs below a folder
python -m context_agg.check      says whether a backward pass is right
python -m context_agg.predict    classifies image files, or their pixels, with a trained network
python -m context_agg.evaluate   tests a trained run again
python -m context_agg.data       checks images with masks, file by file
python -m context_agg.export     keeps what a run has trained, for use here or elsewhere
python -m context_agg.exercise   writes an exercise, a backward pass to fill in, and checks it
python -m context_agg.convert    makes a run of a network that the paper's authors have released

Each of them says with --help what it takes."""


def main() -> None:
    """Prints the list; it is an error message if it was called like a command."""
    if sys.argv[1:] in ([], ["--help"], ["-h"]):
        print(COMMANDS)
    else:
        sys.exit(f"context_agg is not a command by itself.\n\n{COMMANDS}")


if __name__ == "__main__":
    main()
