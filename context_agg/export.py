"""Export a trained run: `python -m context_agg.export DIR OUT [--format safetensors|torch]`.

Writes to the new directory OUT the trained network, the configuration, the description of the data,
the scores, and README.md, a model card that says how to load it. OUT must not exist. It is there
when all of it is written, or not at all.

safetensors: the weights of the best checkpoint; `evaluate` and `predict` accept OUT as a run.
torch: model.pt2, a program that PyTorch runs without this package; images of any size for dense
data. It is compared with the network before OUT takes its name.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.parser import command_parser
from context_agg.runs import atomic
from context_agg.runs.directory import CARD, DATA_SPEC, METRICS, PROGRAM, SETTINGS, WEIGHTS

FORMATS = {"safetensors": WEIGHTS, "torch": PROGRAM}


def export(run_dir: Path, out: Path, form: str = "safetensors") -> None:
    """Copies a finished run without its event files and checkpoints, and adds a model card.

    Args:
        run_dir: directory of the run.
        out: directory to create.
        form: a name in `FORMATS`.

    Raises:
        FileNotFoundError: if the run has not finished.
        FileExistsError: if `out` exists.
        OSError, ValueError: if a file of the run is damaged, or they do not fit together; if `out`
            cannot be written; if the exported program is not the network. There is no `out` then.
    """
    import torch
    from safetensors.torch import save

    from context_agg.runs import card
    from context_agg.runs.load import load_network
    from context_agg.runs.settings import read_settings

    if os.path.lexists(out):
        raise FileExistsError(f"{out} already exists; delete it or name another directory")
    cfg = read_settings(run_dir)
    scores = card.seeds_of(run_dir)
    network, spec = load_network(run_dir)
    dtype = str(next(network.parameters()).dtype).removeprefix("torch.")
    try:
        with atomic.new_folder(out) as folder:
            (folder / SETTINGS).parent.mkdir()
            for name in (SETTINGS, DATA_SPEC, METRICS):
                atomic.write(folder / name, (run_dir / name).read_bytes())
            least = None
            if form == "torch":
                from context_agg.runs import program  # torch.export

                # kernels may be stored channels last; PyTorch would warn that they may be slices
                network.to(memory_format=torch.contiguous_format)
                atomic.write(folder / PROGRAM, program.to_bytes(network, spec))
                least = program.check_same(folder / PROGRAM, network, spec)
            else:
                weights = {name: w.contiguous() for name, w in network.state_dict().items()}
                atomic.write(folder / WEIGHTS, save(weights))
            name, file = out.absolute().name, FORMATS[form]
            text = card.model_card(name, cfg, spec, scores, dtype, file, least)
            atomic.write(folder / CARD, text.encode())
    except OSError as error:
        raise OSError(f"cannot write {out}: {error.strerror}; name another directory") from error


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("export", __doc__)
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="directory of a finished run")
    parser.add_argument("out", metavar="OUT", type=Path, help="directory to create")
    parser.add_argument(
        "--format", choices=FORMATS, default="safetensors", help="of the network (safetensors)"
    )
    given = parser.parse_args(arguments)
    export(given.run_dir, given.out, given.format)
    files = (FORMATS[given.format], SETTINGS, DATA_SPEC, METRICS, CARD)
    print(f"written to {given.out}: {', '.join(files)}")


if __name__ == "__main__":
    main()
