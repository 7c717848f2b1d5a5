"""Brings the numbers of finished sweeps into the documents: the last step of `make results`.

Copies every sweep's runs.csv to docs/results and its figure to docs/figures, exports the model that
the repository carries, and makes the documents' tables anew.
"""

import shutil
from pathlib import Path

from tables import RESULTS, ROOT, write_tables

from context_agg.export import export
from context_agg.report import find_runs

MNIST = "sweep_backprop_model.init_data-mnist_trainer.max_epochs-3"
SWEEPS = {
    "digits": "sweep_backprop_model.init",
    "mnist": MNIST,
    "models": "sweep_model_data-mnist_trainer.max_epochs-3",
}
MODEL = f"{MNIST}/backprop-manual_model.init-identity/seed-0"


def collect(outputs: Path) -> None:
    """Takes the sweeps' files over."""
    for name, folder in SWEEPS.items():
        find_runs(outputs / folder)  # raises where there is none
        shutil.copyfile(outputs / folder / "runs.csv", RESULTS / f"{name}.csv")
        figure = ROOT / "docs" / "figures" / f"results_{name}.png"
        shutil.copyfile(outputs / folder / "report.png", figure)
    model = ROOT / "models" / "basic_mnist"
    shutil.rmtree(model, ignore_errors=True)
    export(outputs / MODEL, model)


if __name__ == "__main__":
    collect(ROOT / "outputs")
    write_tables()
