"""Export a trained run: `python -m context_agg.export DIR OUT`.

Writes the weights of the best checkpoint as safetensors, the configuration, the description of the
data and the scores to the new directory OUT, which `evaluate` and `predict` accept as a run. OUT
must not exist. It is there when all of it is written, or not at all.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser
from context_agg.runs import atomic
from context_agg.runs.directory import DATA_SPEC, METRICS, SETTINGS, WEIGHTS


def export(run_dir: Path, out: Path) -> None:
    """Copies a finished run without its event files and checkpoints.

    Raises:
        FileNotFoundError: if the run has not finished.
        FileExistsError: if `out` exists.
        OSError, ValueError: if a file of the run is damaged, or they do not fit together; if `out`
            cannot be written. There is no `out` then.
    """
    from safetensors.torch import save  # torch

    from context_agg.runs.load import load_network
    from context_agg.runs.records import read_scores
    from context_agg.runs.settings import read_settings

    if os.path.lexists(out):
        raise FileExistsError(f"{out} already exists; delete it or name another directory")
    read_settings(run_dir)
    read_scores(run_dir)
    network, _ = load_network(run_dir)
    try:
        with atomic.new_folder(out) as folder:
            (folder / SETTINGS).parent.mkdir()
            for name in (SETTINGS, DATA_SPEC, METRICS):
                atomic.write(folder / name, (run_dir / name).read_bytes())
            weights = {name: w.contiguous() for name, w in network.state_dict().items()}
            atomic.write(folder / WEIGHTS, save(weights))
    except OSError as error:
        raise OSError(f"cannot write {out}: {error.strerror}; name another directory") from error


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
