"""A headless Chromium, for what people look at."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

OPTIONS = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-dev-shm-usage",  # a container's is small
    "--force-device-scale-factor=1",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",  # as without a network
    "--window-size=1280,900",
)


@pytest.fixture(scope="session")
def chrome() -> Iterator[Chrome]:
    """The browser, which reaches this machine only."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no chromium and chromedriver: apt install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = program
    for option in OPTIONS:
        options.add_argument(option)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium has none for root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options=options, service=Service(driver))
    browser.set_page_load_timeout(60)
    yield browser
    browser.quit()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures of pages go: the folder that SCREENSHOTS names, or nowhere lasting."""
    return Path(os.environ.get("SCREENSHOTS", tmp_path)).absolute()
