"""Brings the numbers of finished sweeps into the documents: `python docs/collect.py NAME...`.

The last step of `make results` and `make best`. Copies each sweep's runs.csv to docs/results and
its figure to docs/figures, exports the model that the repository carries, and makes the documents'
tables anew.
"""

import shutil
import sys
from pathlib import Path

from tables import RESULTS, ROOT, write_tables

from context_agg.export import export
from context_agg.report import find_runs

SWEEPS = {
    "digits": "sweep_backprop_model.init",
    "mnist": "sweep_backprop_model.init_data-mnist_trainer.max_epochs-3",
    "models": "sweep_model_data-mnist_trainer.max_epochs-3",
    "best": "sweep_experiment-best_mnist",
}
MODEL = "backprop-manual_model.init-identity/seed-0"  # of the sweep "mnist"


def collect(name: str, outputs: Path) -> None:
    """Takes a sweep's files over."""
    folder = outputs / SWEEPS[name]
    find_runs(folder)  # raises where there is none
    shutil.copyfile(folder / "runs.csv", RESULTS / f"{name}.csv")
    shutil.copyfile(folder / "report.png", ROOT / "docs" / "figures" / f"results_{name}.png")
    if name == "mnist":
        model = ROOT / "models" / "basic_mnist"
        shutil.rmtree(model, ignore_errors=True)
        export(folder / MODEL, model)


if __name__ == "__main__":
    for sweep in sys.argv[1:]:
        collect(sweep, ROOT / "outputs")
    write_tables()
