"""The documentation is a site that a phone and a desktop can show."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
PAGES = ("docs/index", "README", "docs/commands", "docs/results", "docs/api/networks", "CHANGELOG")
WIDTHS = (390, 1280)  # of a phone and of a desktop


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it, except that the tour is not run."""
    pytest.importorskip("sphinx", reason="no Sphinx: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    options = [
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-c",
        "docs",
        "-D",
        "nb_execution_mode=off",
    ]
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, ".", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_its_window(
    page: str, width: int, site: Path, chrome: Chrome, screenshots: Path
) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        chrome.get((site / f"{page}.html").as_uri())
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= width
        assert chrome.find_element(By.TAG_NAME, "h1").is_displayed()
        side = chrome.find_element(By.CSS_SELECTOR, ".sidebar-drawer")
        assert (side.rect["x"] >= 0) == (width == 1280)  # on a phone a button brings it
        chrome.save_screenshot(str(screenshots / f"site_{page.replace('/', '_')}_{width}.png"))
    finally:
        chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_page_needs_no_network(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert not re.findall(r"<(?:script|link|img|iframe)[^>]*https?://[^>]*>", page.read_text())


def test_the_browser_draws_the_formulae(site: Path, chrome: Chrome) -> None:
    chrome.get((site / "notebooks" / "tour.html").as_uri())
    fractions = chrome.find_elements(By.CSS_SELECTOR, "math mfrac")
    assert fractions
    for fraction in fractions:
        above, below = (part.rect for part in fraction.find_elements(By.XPATH, "./*"))
        assert above["y"] + above["height"] <= below["y"]


def test_every_figure_of_the_documents_is_shown(site: Path, chrome: Chrome) -> None:
    for document in sorted((ROOT / "docs").glob("*.md")):
        chrome.get((site / "docs" / f"{document.stem}.html").as_uri())
        images = chrome.find_elements(By.CSS_SELECTOR, "article img")
        widths = [chrome.execute_script("return arguments[0].naturalWidth", i) for i in images]
        assert len(widths) == document.read_text().count("](figures/")
        assert all(widths)


def test_the_reference_describes_what_the_package_offers(site: Path, chrome: Chrome) -> None:
    chrome.get((site / "docs" / "api" / "networks.html").as_uri())
    for name in ("ContextModule", "DilatedConv2d", "identity_init_", "receptive_field"):
        entry = chrome.find_element(By.ID, f"context_agg.networks.context.{name}")
        assert name in entry.text
    module = chrome.find_element(By.ID, "context_agg.networks.context.ContextModule")
    described = module.find_element(By.XPATH, "./following-sibling::dd")
    assert "dilation of each 3x3 layer, in pixels" in described.text
    assert "raises" in described.text.lower()  # the theme may write it large


def test_every_module_with_a_docstring_has_an_entry(site: Path) -> None:
    made = "".join(page.read_text() for page in (site / "docs" / "api").glob("*.html"))
    for file in sorted((ROOT / "context_agg").rglob("*.py")):
        if file.name[0] != "_":
            module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
            assert f'id="module-{module}"' in made


def test_links_between_the_pages_lead_somewhere(site: Path) -> None:
    """Sphinx checks those that it knows to be links between its pages; this checks all."""
    from html.parser import HTMLParser
    from urllib.parse import unquote, urlsplit

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            target = dict(attributes).get("href") if tag == "a" else None
            parts = urlsplit(target or "")
            if parts.path and not parts.scheme:
                assert (page.parent / unquote(parts.path)).exists(), f"{page}: {target}"

    for page in site.rglob("*.html"):
        Links().feed(page.read_text())
