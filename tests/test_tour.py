"""The tour runs from the first cell to the last, and its output agrees with its text."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FILE = Path(__file__).parents[1] / "notebooks" / "tour.ipynb"


def read() -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.read(FILE, as_version=4)
    return notebook


def test_the_repository_carries_no_outputs() -> None:
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.notebook
def test_the_tour_runs() -> None:
    notebook = read()
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": FILE.parent}}).execute()
    texts = [
        output.get("text") or output.data.get("text/plain", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    everything = "".join(texts)
    assert "1 [ 6.  9. 12." in everything
    assert "manual gradcheck: passes" in everything
    assert "dilation 1 passes" in everything
    assert "dilation 2 ['grad_x', 'grad_weight']" in everything
    assert "[3, 5, 9, 17, 33, 65, 67, 67]" in everything
    assert "True" in texts
    accuracy = next(float(text) for text in texts if text.startswith("0."))
    assert accuracy > 0.93
    assert everything.count("<Figure size") == 6
