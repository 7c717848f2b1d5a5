"""Export a trained run: `python -m context_agg.export DIR OUT`.

Writes the weights of the best checkpoint as safetensors, the configuration, the description of the
data and the scores to the new directory OUT, which `evaluate` and `predict` accept as a run.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser
from context_agg.runs.directory import DATA_SPEC, METRICS, SETTINGS, WEIGHTS


def export(run_dir: Path, out: Path) -> None:
    """Copies a finished run without its event files and checkpoints.

    Raises:
        FileNotFoundError: if the run has not finished.
        FileExistsError: if `out` exists.
        ValueError: as in `read_settings` and `read_weights`.
    """
    from safetensors.torch import save_file  # torch

    from context_agg.runs.load import read_settings, read_weights

    if out.exists():
        raise FileExistsError(f"{out} already exists; delete it or name another directory")
    read_settings(run_dir)
    if not (run_dir / METRICS).is_file():
        raise FileNotFoundError(f"the run in {run_dir} has not finished: it has no {METRICS}")
    weights = read_weights(run_dir)
    (out / SETTINGS).parent.mkdir(parents=True)
    for name in (SETTINGS, DATA_SPEC, METRICS):
        shutil.copyfile(run_dir / name, out / name)
    save_file(weights, out / WEIGHTS)


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("export", __doc__)
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="directory of a finished run")
    parser.add_argument("out", metavar="OUT", type=Path, help="directory to create")
    given = parser.parse_args(arguments)
    export(given.run_dir, given.out)
    print(f"written to {given.out}: {WEIGHTS}, {SETTINGS}, {DATA_SPEC}, {METRICS}")


if __name__ == "__main__":
    main()
