"""The documents say what the recorded numbers say."""

import json
import re
from pathlib import Path

import pytest

from context_agg.evaluate import evaluate
from context_agg.runs.load import load_network
from studies.__main__ import TABLES
from studies.tables import DOCUMENTS, with_tables

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "basic_mnist"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_tables_are_those_of_the_recorded_runs(document: Path) -> None:
    text = document.read_text()
    assert with_tables(document, TABLES) == text


def test_every_table_stands_in_a_document() -> None:
    shown = {
        name
        for document in DOCUMENTS
        for name in re.findall(r"<!-- table (\w+) -->", document.read_text())
    }
    assert shown == TABLES.keys()


@pytest.mark.parametrize("model", sorted((ROOT / "models").iterdir()), ids=lambda path: path.name)
def test_the_card_of_a_model_has_its_scores(model: Path) -> None:
    card = (model / "README.md").read_text()
    scores = json.loads((model / "metrics.json").read_text())
    shown = dict(re.findall(r"^\| (test/\w+) \| ([\d.]+) \|", card, re.M))
    assert shown == {name: f"{scores[name]:.4f}" for name in scores if name.startswith("test/")}


def test_the_model_in_the_repository_is_small_and_loads() -> None:
    assert (MODEL / "model.safetensors").stat().st_size < 1_000_000
    network, data = load_network(MODEL)
    assert (data.name, data.image_size) == ("MNIST", (28, 28))
    assert sum(parameter.numel() for parameter in network.parameters()) == 142_122


def test_the_model_in_the_repository_has_its_recorded_accuracy(mnist: Path) -> None:
    recorded = json.loads((MODEL / "metrics.json").read_text())
    scores = evaluate(MODEL)
    assert scores["test/accuracy"] == pytest.approx(recorded["test/accuracy"], abs=2e-4)
    assert scores["test/loss"] == pytest.approx(recorded["test/loss"], rel=1e-3)
