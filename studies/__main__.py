"""Repeat a study: `python -m studies NAME`.

Runs what docs/results lacks, records it there, and makes the figures and tables of the documents.
Without a name, lists the studies and the time that their recorded runs took.
"""

import argparse
import sys
from collections.abc import Sequence

import torch
from hydra.errors import InstantiationException

from benchmarks import report
from context_agg.cli.quiet import quiet
from studies import convolutions, digits, gradients, lecture, mnist, post, reliability, scenes
from studies.study import Study
from studies.tables import DOCUMENTS, plain_table, with_tables

MODULES = (digits, mnist, lecture, post, scenes, gradients, convolutions, reliability)
STUDIES: dict[str, Study] = {module.STUDY.name: module.STUDY for module in MODULES}


def costs() -> str:
    """A table of the studies: their runs, and the recorded time."""
    return plain_table(
        [
            {
                "study": name,
                "runs": str(sum(1 for _ in study.runs())),
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m studies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choices = ["all", *STUDIES]
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"one of {', '.join(choices)}")
    parser.add_argument("--draw", action="store_true", help="only figures and tables, no runs")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in choices]:
        sys.exit(f"there is no study {unknown[0]!r}; choose one of {', '.join(choices)}")
    if not given.names:
        print(costs(), end="")
        return
    quiet()
    names = list(STUDIES) if "all" in given.names else given.names
    failed: list[str] = []
    torch.set_num_threads(1)  # what the documents say of every number
    try:
        for name in names:
            if not given.draw:
                failed += STUDIES[name].run()
            STUDIES[name].draw()
    except (InstantiationException, FileExistsError) as error:  # data or runs in the way
        sys.exit(str(error.__cause__ or error))
    write_tables()
    if failed:
        sys.exit(f"{len(failed)} runs failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
