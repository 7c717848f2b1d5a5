"""The report as a page: tables, curves, settings that differ, links."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from context_agg.runs.page import differences, make_page, tables_of

TABLE = """\
| variant | runs | test/accuracy |
| --- | ---: | ---: |
| a <b> | 3 | 0.9 ± 0.1 |
| c | 1 | 0.5 |

Differences from a, pairs of seeds:

| variant | difference | 95 % interval |
| --- | ---: | ---: |
| c | -0.4 | -0.5 to -0.3 |
"""


class Page(HTMLParser):
    """The cells of the tables, the links, and whatever could reach for another file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.links: list[str] = []
        self.outside: list[str] = []
        self.open: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "script":
            self.scripts.append("")
        for name, value in attributes:
            if tag == "a" and name == "href":
                self.links.append(value or "")
            elif name in ("src", "href", "srcset"):
                self.outside.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:  # an <option> may end without saying so
            pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data


def page(folder: Path, curves: Any, settings: Any = None) -> Page:
    return Page(make_page(folder, TABLE, curves, settings or {}))


def test_a_page_shows_whatever_tables_the_report_has() -> None:
    first, second = Page(tables_of(TABLE)).tables
    assert first == [
        ["variant", "runs", "test/accuracy"],
        ["a <b>", "3", "0.9 ± 0.1"],
        ["c", "1", "0.5"],
    ]
    assert second[0] == ["variant", "difference", "95 % interval"]
    assert "<p>Differences from a, pairs of seeds:</p>" in tables_of(TABLE)
    assert '<td class="number">0.5</td>' in tables_of(TABLE)
    assert "<td>c</td>" in tables_of(TABLE)


def test_a_page_reaches_for_nothing_outside(tmp_path: Path) -> None:
    made = page(tmp_path, {"v": {"v/seed-0": {"val/loss": [1.0]}}})
    assert made.outside == []
    text = make_page(tmp_path, TABLE, {}, {})
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]  # a name
    assert not re.search(r"url\(|@import|import\(|fetch\(", text)


def test_the_curves_are_in_the_page(tmp_path: Path) -> None:
    values = [1.25, math.nan, math.inf, 0.1234567891]
    (data, _) = page(tmp_path, {"</script>": {"x/seed-0": {"val/loss": values}}}).scripts
    (variant,) = json.loads(data)
    assert variant["name"] == "</script>"
    (run,) = variant["runs"]
    assert run == {"name": "x/seed-0", "curves": {"val/loss": [1.25, None, None, 0.123457]}}


def test_the_runs_are_linked(tmp_path: Path) -> None:
    run = tmp_path / "lr 1%" / "seed-0"
    run.mkdir(parents=True)
    (run / "metrics.json").touch()
    made = page(tmp_path, {"v": {"lr 1%/seed-0": {"val/loss": [1.0]}}})
    assert made.links == ["lr%201%25/seed-0/", "lr%201%25/seed-0/metrics.json"]


def test_only_what_differs_between_the_variants_is_shown() -> None:
    def run(seed: int, backprop: str, lr: float, **more: object) -> dict[str, Any]:
        model = {"backprop": backprop, "dilations": [1, 2], **more}
        data = {"seed": seed, "root": f"/{backprop}", "workers": len(backprop)}
        how = {"checkpoint": {"every_steps": lr}, "data": data, "model": model}
        return {"seed": seed, "backprop": backprop, "lr": lr, **how}

    variants = {
        "a": [run(0, "auto", 0.1), run(1, "auto", 0.2)],
        "b": [run(0, "broken", 0.1, init=None), run(1, "broken", 0.1, init=None)],
    }
    assert differences(variants) == {
        "backprop": {"a": "auto", "b": "broken"},
        "lr": {"a": "0.1, 0.2", "b": "0.1"},
        "model.init": {"a": "absent", "b": "null"},
    }
    assert differences({"a": variants["a"]}) == {}


def test_settings_that_differ_are_a_table_of_variants(tmp_path: Path) -> None:
    settings = {"lr": {"a": "0.1", "b": "0.2"}, "init": {"a": "<x>", "b": "y"}}
    table = page(tmp_path, {"a": {}, "b": {}}, settings).tables[2]
    assert table == [["variant", "lr", "init"], ["a", "0.1", "<x>"], ["b", "0.2", "y"]]
