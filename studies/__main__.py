"""Repeat a study: `python -m studies NAME`, or one of its sweeps: `python -m studies NAME/PART`.

Runs what docs/results lacks, records every run there when it has finished, and makes the figures
and tables of the documents. A study that is stopped goes on with the same command. Without a name,
lists the studies and the time that their recorded runs took.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence

import torch
from hydra.errors import InstantiationException

from benchmarks import report
from context_agg.cli import signals
from context_agg.cli.quiet import quiet
from studies import (
    additions,
    camvid,
    collapse,
    convolutions,
    digits,
    feedback,
    gradients,
    lecture,
    mnist,
    post,
    reliability,
    scenes,
    starts,
)
from studies.study import Study, kept
from studies.tables import DOCUMENTS, plain_table, with_tables

MODULES = (
    digits,
    mnist,
    lecture,
    post,
    feedback,
    collapse,
    additions,
    scenes,
    starts,
    camvid,
    gradients,
    convolutions,
    reliability,
)
STUDIES: dict[str, Study] = {module.STUDY.name: module.STUDY for module in MODULES}


def costs() -> str:
    """A table of the studies: their runs, and the recorded time."""
    return plain_table(
        [
            {
                "study": name,
                "runs": str(len(study.wanted())),
                "missing": str(len(study.missing())),
                "core hours": f"{study.seconds() / 3600:.1f}",
            }
            for name, study in STUDIES.items()
        ]
    )


TABLES = {
    "studies": costs,
    **{name: table for study in STUDIES.values() for name, table in study.tables.items()},
    **report.TABLES,
}


def write_tables() -> None:
    """Rewrites the tables in all documents."""
    for document in DOCUMENTS:
        document.write_text(with_tables(document, TABLES))


def check_name(name: str) -> None:
    """Refuses what is neither a study, nor a part of one, nor "all"."""
    study, slash, part = name.partition("/")
    if study not in ("all", *STUDIES):
        sys.exit(f"there is no study {study!r}; choose one of {', '.join(['all', *STUDIES])}")
    parts = STUDIES[study].parts if study in STUDIES else []
    if slash and part not in parts:
        of = f"its parts are {', '.join(parts)}" if parts else "it has no parts"
        sys.exit(f"there is no {name}: {of}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m studies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    help_ = f"all, or of {', '.join(STUDIES)}, with /PART for one of its sweeps"
    parser.add_argument("names", metavar="NAME", nargs="*", help=help_)
    parser.add_argument("--draw", action="store_true", help="only figures and tables, no runs")
    cores = os.cpu_count() or 1
    help_ = f"runs at a time, one thread each (here {cores})"
    parser.add_argument("--jobs", type=int, default=cores, metavar="N", help=help_)
    help_ = "stop after so long; the same command goes on"
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M", help=help_)
    given = parser.parse_args(arguments)
    if given.jobs < 1 or not given.minutes > 0:
        sys.exit(f"--jobs {given.jobs} and --minutes {given.minutes} must be positive")
    for name in given.names:
        check_name(name)
    if not given.names:
        print(costs(), end="")
        return
    quiet()
    names = list(STUDIES) if "all" in given.names else given.names
    failed: list[str] = []
    torch.set_num_threads(1)  # what the documents say of every number
    until = time.monotonic() + 60 * given.minutes
    try:
        for name in names:
            study, _, part = name.partition("/")
            if not given.draw:
                failed += STUDIES[study].run(part or None, jobs=given.jobs, until=until)
            STUDIES[study].draw()
    except (InstantiationException, FileExistsError) as error:  # data or runs in the way
        sys.exit(str(error.__cause__ or error))
    write_tables()
    if failed:
        sys.exit(f"{len(failed)} runs failed: {', '.join(failed)}")


if __name__ == "__main__":
    signals.install()
    signals.at_once(kept)
    with signals.exit_when_stopped():
        main()
