"""TensorBoard shows a sweep in a real browser."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.browser.page import elements, texts, wait
from tests.command import call

pytestmark = pytest.mark.browser

VARIANTS = ("auto", "broken", "manual")
SWEEP = [
    f"backprop={','.join(VARIANTS)}",
    "model.channels=4",
    "model.init=kaiming",
    "optimizer.lr=0.003",
    "trainer.max_epochs=5",
]
SCENES = [
    "data=digit_scenes",
    "front_end=small",
    "model=front_end",
    *(f"data.{part}_scenes=16" for part in ("train", "validation", "test")),
    "trainer.max_epochs=1",
]
RUNS = {f"backprop-{backprop}/seed-0" for backprop in VARIANTS}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep over three ways to compute gradients, and beside it a dense run."""
    folder = tmp_path_factory.mktemp("outputs")
    assert call("train", "-m", *SWEEP, f"hydra.sweep.dir={folder / 'sweep_backprop'}") == 0
    assert call("train", *SCENES, f"hydra.run.dir={folder / 'dense'}") == 0
    return folder


def serve(folder: Path) -> Iterator[str]:
    """Starts TensorBoard as a user does; gives its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder.name, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder.parent) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if address := re.search(r"at (http://localhost:\d+/)", line):
                    yield address[1]
                    break
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def sweep_page(outputs: Path) -> Iterator[str]:
    yield from serve(outputs / "sweep_backprop")


@pytest.fixture(scope="module")
def dense_page(outputs: Path) -> Iterator[str]:
    yield from serve(outputs / "dense")


def visit(chrome: Chrome, address: str, tab: str) -> None:
    chrome.get("about:blank")  # the part behind # alone would load nothing
    chrome.get(f"{address}#{tab}")


def test_the_time_series_have_every_run_and_begin_with_the_scores(
    chrome: Chrome, sweep_page: str
) -> None:
    visit(chrome, sweep_page, "timeseries")
    wait(lambda: set(texts(chrome)) >= RUNS, "all runs are listed")
    wait(lambda: elements(chrome, "card-view"), "there are cards")
    shown = texts(chrome)
    assert shown[shown.index("Pinned") :].count("epoch") == 0
    groups = [text for text in shown if text in ("test", "train", "val", "epoch")]
    assert groups[0] == "test"


def test_the_layout_overlays_the_three_variants(
    chrome: Chrome, sweep_page: str, screenshots: Path
) -> None:
    visit(chrome, sweep_page, "custom_scalars&_smoothingWeight=0")
    panels = ["cost, training", "cost, held-out", "accuracy, training", "accuracy, held-out"]
    wait(lambda: set(texts(chrome)) >= set(panels), "the panels are there")
    assert [text for text in texts(chrome) if text in panels] == panels
    matches = [f"{tag} ({run})" for tag in ("train/loss", "val/accuracy") for run in RUNS]
    wait(lambda: set(texts(chrome)) >= set(matches), "each panel has every run")
    (box,) = (x for x in elements(chrome, "paper-checkbox") if "Ignore outliers" in x.text)
    box.click()  # the axes reach to every point
    wait(lambda: curves(chrome) == 4 * len(RUNS), "a line a run and panel")
    chrome.set_window_size(1080, 880)
    chrome.save_screenshot(str(screenshots / "tensorboard.png"))


def curves(chrome: Chrome) -> int:
    """The lines in the charts that have points."""
    paths = elements(chrome, "path.line")
    return sum("L" in (path.get_attribute("d") or "") for path in paths)


def test_the_hparams_tab_has_the_swept_key_and_the_final_scores(
    chrome: Chrome, sweep_page: str
) -> None:
    visit(chrome, sweep_page, "hparams")
    wait(lambda: set(texts(chrome)) >= RUNS, "every run has a row")
    shown = texts(chrome)
    assert {"backprop", "seed", "optimizer.lr", "test/accuracy", "test/loss"} <= set(shown)
    assert set(VARIANTS) <= set(shown)


def test_the_graph_is_there(chrome: Chrome, sweep_page: str) -> None:
    visit(chrome, sweep_page, "graphs")
    wait(lambda: elements(chrome, "g.node"), "the graph has nodes")
    assert any("ContextNet" in text for text in texts(chrome))


def test_the_images_of_a_dense_run_are_there(chrome: Chrome, dense_page: str) -> None:
    visit(chrome, dense_page, "images")
    wait(lambda: "val/labels" in texts(chrome), "the images have their name")
    wait(lambda: [image for image in elements(chrome, "img") if loaded(chrome, image)], "an image")


def loaded(chrome: Chrome, image: object) -> bool:
    return bool(chrome.execute_script("return arguments[0].naturalWidth > 100", image))
