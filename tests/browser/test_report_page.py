"""The page that `report` writes works in a browser, from disk, without a network."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select
from torch.utils.tensorboard import SummaryWriter

from context_agg.report import main

pytestmark = pytest.mark.browser

SCORES = {"test/loss": 0.5, "test/accuracy": 0.75, "final/accuracy": 0.7, "seconds": 3.0}


def write_runs(folder: Path, variant: str, seeds: int, value: Callable[[int, int], float]) -> None:
    """Writes the logs of finished runs of 5 epochs whose scalars are value(epoch, seed)."""
    for seed in range(seeds):
        run_dir = folder / variant / f"seed-{seed}"
        with SummaryWriter(str(run_dir)) as writer:
            for epoch in range(1, 6):
                for tag in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
                    sign = -1 if tag == "train/loss" else 1
                    writer.add_scalar(tag, sign * value(epoch, seed), epoch)
        (run_dir / "metrics.json").write_text(json.dumps({**SCORES, "epochs": 5}))
        (run_dir / ".hydra").mkdir()
        settings = f"{variant.replace('=', ': ')}\nseed: {seed}\n"
        (run_dir / ".hydra" / "config.yaml").write_text(settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants of two seeds; val/accuracy is 0.1 epoch + 0.02 seed, + 0.3 for the first."""
    folder = tmp_path_factory.mktemp("sweep of two")
    write_runs(folder, "backprop=auto", 2, lambda epoch, seed: 0.3 + 0.1 * epoch + 0.02 * seed)
    write_runs(folder, "backprop=broken", 2, lambda epoch, seed: 0.1 * epoch + 0.02 * seed)
    main([str(folder)])
    return folder


@pytest.fixture
def page(folder: Path, chrome: Chrome) -> Chrome:
    chrome.set_window_size(1280, 900)
    chrome.get_log("browser")  # what earlier pages said
    chrome.get((folder / "report.html").as_uri())
    return chrome


def curves(page: Chrome) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, "#chart path.curve")


def tip(page: Chrome) -> str:
    found = page.find_element(By.ID, "tip")
    return found.text if found.is_displayed() else ""


def corners(curve: WebElement) -> list[tuple[float, float]]:
    """Where a curve has its values, epoch by epoch, in pixels of the chart."""
    found = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", curve.get_attribute("d") or "")
    return [(float(x), float(y)) for x, y in found]


def hover(page: Chrome, curve: WebElement, epoch: int) -> None:
    """Moves the pointer to where a curve has its value of an epoch."""
    x, y = corners(curve)[epoch - 1]
    svg = page.find_element(By.CSS_SELECTOR, "#chart svg")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
    offset = (x - svg.rect["width"] / 2, y - svg.rect["height"] / 2)
    ActionChains(page).move_to_element_with_offset(svg, *map(round, offset)).perform()


def test_the_page_loads_no_other_file_and_says_no_error(page: Chrome) -> None:
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert page.get_log("browser") == []


def test_hovering_tells_variant_epoch_mean_and_range(page: Chrome) -> None:
    auto, broken = curves(page)
    hover(page, auto, 3)
    assert tip(page) == "backprop=auto (2 runs)\nepoch 3: 0.61\n0.6 to 0.62"
    hover(page, broken, 5)
    assert tip(page) == "backprop=broken (2 runs)\nepoch 5: 0.51\n0.5 to 0.52"
    ActionChains(page).move_to_element(page.find_element(By.TAG_NAME, "h1")).perform()
    assert tip(page) == ""


def test_a_variant_can_be_switched_off_and_on(page: Chrome) -> None:
    box = page.find_elements(By.CSS_SELECTOR, "#legend input")[0]
    box.click()
    (broken,) = curves(page)
    hover(page, broken, 1)
    assert tip(page).startswith("backprop=broken")
    box.click()
    assert len(curves(page)) == 2


def test_each_run_can_be_shown_and_another_scalar(page: Chrome) -> None:
    Select(page.find_element(By.ID, "runs")).select_by_value("each")
    assert len(curves(page)) == 4
    scalars = Select(page.find_element(By.ID, "scalar"))
    assert [option.text for option in scalars.options] == [
        "train/loss",
        "train/accuracy",
        "val/loss",
        "val/accuracy",
    ]
    scalars.select_by_visible_text("train/loss")
    hover(page, curves(page)[1], 2)
    assert tip(page) == "backprop=auto/seed-1\nepoch 2: -0.52"


def test_a_logarithmic_axis_leaves_out_what_has_no_logarithm(page: Chrome) -> None:
    page.find_element(By.ID, "log").click()
    assert len(curves(page)) == 2
    Select(page.find_element(By.ID, "scalar")).select_by_visible_text(
        "train/loss"
    )  # all are negative
    assert curves(page) == []
    assert page.get_log("browser") == []


def test_tables_settings_and_links_are_there(page: Chrome, folder: Path) -> None:
    text = page.find_element(By.TAG_NAME, "body").text
    (cells, *_) = (line for line in text.splitlines() if line.startswith("backprop=auto 2 "))
    assert "0.75" in cells
    rows = page.find_elements(By.XPATH, "//h2[.='Settings that differ']/following::table[1]//tr")
    assert [row.text for row in rows] == [
        "variant backprop",
        "backprop=auto auto",
        "backprop=broken broken",
    ]
    link = page.find_element(By.LINK_TEXT, "backprop=auto/seed-0")
    assert link.get_attribute("href") == f"{(folder / 'backprop=auto' / 'seed-0').as_uri()}/"
    link.click()
    assert "metrics.json" in page.page_source


@pytest.mark.parametrize("value", [0.1, 1e20])
@pytest.mark.parametrize("others", [False, True])
def test_runs_that_agree_on_a_constant_have_a_level_curve(
    value: float, others: bool, chrome: Chrome, tmp_path: Path
) -> None:
    """The mean of three times 0.1 is 0.10000000000000002, so its range is not quite empty."""
    write_runs(tmp_path, "backprop=auto", 3, lambda epoch, seed: value)
    if others:
        write_runs(tmp_path, "backprop=broken", 3, lambda epoch, seed: value + epoch + seed)
    main([str(tmp_path)])
    chrome.get_log("browser")
    chrome.get((tmp_path / "report.html").as_uri())
    for box in chrome.find_elements(By.CSS_SELECTOR, "#legend input")[1:]:
        box.click()
    for scalar in ("val/accuracy", "train/loss"):
        Select(chrome.find_element(By.ID, "scalar")).select_by_visible_text(scalar)
        (curve,) = curves(chrome)
        heights = [y for _, y in corners(curve)]
        assert len(heights) == 5
        assert len(set(heights)) == 1
        assert 2 <= len(chrome.find_elements(By.CSS_SELECTOR, "#chart line.grid")) <= 12
    assert chrome.get_log("browser") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_at_the_width_of_a_phone_or_a_desktop(
    width: int, folder: Path, chrome: Chrome, screenshots: Path
) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        chrome.get((folder / "report.html").as_uri())
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
        hover(chrome, curves(chrome)[0], 2)
        chrome.save_screenshot(str(screenshots / f"report_{width}.png"))
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
