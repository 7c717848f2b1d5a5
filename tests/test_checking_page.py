"""What docs/checking.md shows is what its examples print."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "checking.md"
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", PAGE.read_text(), re.M | re.S
)
ROUNDING = re.compile(r"\d(\.\d)?e-\d\d")  # differs from machine to machine


def test_the_page_has_three_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=["layer_norm", "boxes", "offsets"])
def test_an_example_prints_what_the_page_shows(code: str, shown: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, PAGE.name, "exec"), {})
    assert ROUNDING.sub("#", printed.getvalue()) == ROUNDING.sub("#", shown)
