"""Brings the numbers of finished sweeps into the documents: the last step of `make results`.

Copies every sweep's runs.csv to docs/results and its figure to docs/figures, exports the model that
the repository carries, and writes the tables between the marks of docs/results.md and README.md.
With `--tables` only the last, from the files in docs/results.
"""

import csv
import re
import shutil
import sys
from pathlib import Path

from context_agg.export import export
from context_agg.report import COLUMNS, as_markdown, find_runs, summarise

ROOT = Path(__file__).parents[1]
MNIST = "sweep_backprop_model.init_data-mnist_trainer.max_epochs-3"
SWEEPS = {
    "digits": "sweep_backprop_model.init",
    "mnist": MNIST,
    "models": "sweep_model_data-mnist_trainer.max_epochs-3",
}
MODEL = f"{MNIST}/backprop-manual_model.init-identity/seed-0"
SHORT = ("test/accuracy", "final/accuracy")
TABLES = {ROOT / "docs" / "results.md": COLUMNS, ROOT / "README.md": SHORT}


def collect(outputs: Path) -> None:
    """Takes the sweeps' files over."""
    for name, folder in SWEEPS.items():
        find_runs(outputs / folder)  # raises where there is none
        shutil.copyfile(outputs / folder / "runs.csv", ROOT / "docs" / "results" / f"{name}.csv")
        shutil.copyfile(
            outputs / folder / "report.png", ROOT / "docs" / "figures" / f"results_{name}.png"
        )
    model = ROOT / "models" / "basic_mnist"
    shutil.rmtree(model, ignore_errors=True)
    export(outputs / MODEL, model)


def table(name: str, columns: tuple[str, ...]) -> str:
    """The table of one sweep, from its file in docs/results."""
    variants: dict[str, list[dict[str, float]]] = {}
    with (ROOT / "docs" / "results" / f"{name}.csv").open() as file:
        for row in csv.DictReader(file):
            variant = row.pop("run").rpartition("/")[0]
            scores = {column: float(value) for column, value in row.items()}
            variants.setdefault(variant, []).append(scores)
    return as_markdown(summarise(variants), columns)


def with_tables(text: str, columns: tuple[str, ...]) -> str:
    """The text with what stands between `<!-- table NAME -->` and `<!-- end -->` made anew."""

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}\n{table(match[2], columns)}{match[3]}"

    return re.sub(r"(<!-- table (\w+) -->)\n.*?(<!-- end -->)", fill, text, flags=re.DOTALL)


def main() -> None:
    """The command."""
    if "--tables" not in sys.argv[1:]:
        collect(ROOT / "outputs")
    for file, columns in TABLES.items():
        file.write_text(with_tables(file.read_text(), columns))


if __name__ == "__main__":
    main()
