"""`resume=DIR` on the command line of train; it is read before Hydra composes anything."""

import sys
from collections.abc import Sequence
from pathlib import Path

KEY = "resume="


def requested(arguments: Sequence[str]) -> tuple[Path, list[str]] | None:
    """The DIR of `resume=DIR` and the other arguments; None without it.

    Raises:
        SystemExit: for arguments that do not go with it.
    """
    dirs = [argument.removeprefix(KEY) for argument in arguments if argument.startswith(KEY)]
    if not dirs:
        return None
    others = [argument for argument in arguments if not argument.startswith(KEY)]
    if {"-m", "--multirun"} & set(others):
        sys.exit(
            "resume=DIR goes on with one run, so it does not go with -m; a sweep that is called "
            "again goes on with its runs by itself"
        )
    if options := [argument for argument in others if argument.startswith("-")]:
        sys.exit(f"resume=DIR takes the settings of the run in DIR; leave out {options[0]}")
    if len(dirs) > 1 or not dirs[0]:
        sys.exit("resume=DIR takes the directory of one run")
    return Path(dirs[0]), others
