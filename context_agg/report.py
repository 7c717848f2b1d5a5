"""Compare runs: `python -m context_agg.report DIR` reads any folder of runs.

Writes report.md, report.csv (the mean of every variant over its seeds, with its 95 % interval),
runs.csv (a row per run), curves.csv (a row per run and epoch), report.png (held-out cost and
accuracy by epoch) and report.html (all of this as a page for the browser) to DIR, and prints the
table. With --baseline the table also has the difference of every variant from that one, over the
seeds that both have.

A run that cannot be read is named and left out; the exit code is then 1.
"""

from collections.abc import Sequence
from pathlib import Path

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("report", __doc__)
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder with runs, at any depth")
    help_ = "the variant that the others are compared with, as the table names it"
    parser.add_argument("--baseline", metavar="NAME", help=help_)
    given = parser.parse_args(arguments)
    folder: Path = given.folder
    from context_agg.runs.table import FILES, write_report  # matplotlib, not needed for --help

    report = write_report(folder, given.baseline)
    if report.table:
        print(f"{report.table}\nwritten to {folder}: {', '.join(FILES)}")
    if report.left_out:
        raise ValueError("\n".join(report.left_out))


if __name__ == "__main__":
    main()
