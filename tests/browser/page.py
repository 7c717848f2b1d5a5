"""Reads a page in the browser: its text and elements, in shadow roots too."""

import time
from collections.abc import Callable
from typing import Any

from selenium.webdriver import Chrome

DEEP = """
const selector = arguments[0], texts = [], found = [];
(function visit(node) {
  if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent.trim());
  if (['SCRIPT', 'STYLE', 'TEMPLATE', 'NOSCRIPT'].includes(node.nodeName)) return;
  if (node.nodeType === Node.ELEMENT_NODE && node.matches(selector)) found.push(node);
  if (node.shadowRoot) visit(node.shadowRoot);
  node.childNodes.forEach(visit);
})(document.body);
return [texts.filter(text => text), found];
"""
PATIENCE = 60.0  # seconds: several tests share the machine


def texts(browser: Chrome) -> list[str]:
    """The texts of the page, in the order of its elements."""
    found: list[str] = browser.execute_script(DEEP, "none")[0]
    return found


def elements(browser: Chrome, selector: str) -> list[Any]:
    """The elements that a selector names, in any shadow root."""
    found: list[Any] = browser.execute_script(DEEP, selector)[1]
    return found


def wait(condition: Callable[[], object], what: str) -> None:
    """Waits until something is so.

    Raises:
        AssertionError: if it never is.
    """
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"never: {what}"
        time.sleep(0.1)
