"""The report of a folder of runs as one HTML page, which needs no network and no other file."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from context_agg.analysis.colours import variant_style
from context_agg.cli.no_result import NO_RESULT
from context_agg.runs.directory import LOG, METRICS, SETTINGS
from context_agg.runs.finished import leaves

TEMPLATE = Path(__file__).with_name("page.html")
DASHES = {"-": "none", "--": "8 4", "-.": "8 3 2 3", ":": "2 3"}
LINKS = {"curves": "curves.png", "settings": SETTINGS, "scores": METRICS, "log": LOG}

Curves = Mapping[str, Sequence[float]]
"""The values of each scalar by epoch."""


def make_page(
    folder: Path,
    table: str,
    curves: Mapping[str, Mapping[str, Curves]],
    settings: Mapping[str, Mapping[str, str]],
) -> str:
    """Makes the page.

    Args:
        folder: where the page will lie; the links to the runs are relative to it.
        table: the tables of the report, in Markdown.
        curves: by variant and run, as a path from the folder.
        settings: what the variants differ in, as `differences` gives it.
    """
    runs = [name for group in curves.values() for name in group]
    parts = {
        "title": escape(folder.absolute().name),
        "summary": f"{len(runs)} finished runs of {len(curves)} variants",
        "tables": tables_of(table),
        "settings": _settings(settings),
        "runs": _runs(folder, runs),
        "data": _data(curves),
    }
    return re.sub(r"@(\w+)@", lambda match: parts[match[1]], TEMPLATE.read_text())


def tables_of(markdown: str) -> str:
    """Turns Markdown that consists of tables, headings and paragraphs into HTML."""
    made = []
    for block in re.split(r"\n\s*\n", markdown.strip()):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            head, rule, *rows = [_cells(line) for line in lines]
            kinds = ["number" if cell.endswith(":") else "" for cell in rule]
            made.append(_table(head, rows, kinds))
        elif lines[0].startswith("#"):
            made.append(f"<h2>{escape(block.lstrip('# '))}</h2>")
        else:
            made.append(f"<p>{escape(block)}</p>")
    return "\n".join(made)


def differences(settings: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, str]]:
    """What the variants differ in: for each key the value, or values, of each variant.

    Seeds and keys that change no result are left out, and so is `model.backprop` where it is what
    `backprop` says.

    Args:
        settings: the whole configurations of the runs of each variant.
    """
    flat = {name: [dict(leaves(run)) for run in runs] for name, runs in settings.items()}
    keys = dict.fromkeys(key for runs in flat.values() for run in runs for key in run)
    found: dict[str, dict[str, str]] = {}
    for key in keys:
        last = key.rpartition(".")[2]
        if last == "seed" or key in NO_RESULT:
            continue
        values = {
            name: ", ".join(dict.fromkeys(_text(run.get(key, "absent")) for run in runs))
            for name, runs in flat.items()
        }
        if len(set(values.values())) > 1 and found.get(last) != values:
            found[key] = values
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cells(line: str) -> list[str]:
    return [escape(cell.strip()) for cell in line.strip().strip("|").split("|")]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[str]) -> str:
    """A table of HTML cells; a kind for each column, its class."""

    def row(tag: str, cells: Sequence[str]) -> str:
        made = (
            f'<{tag} class="{kind}">{cell}</{tag}>' if kind else f"<{tag}>{cell}</{tag}>"
            for cell, kind in zip(cells, kinds, strict=True)
        )
        return f"<tr>{''.join(made)}</tr>"

    top, body = row("th", head), "\n".join(row("td", cells) for cells in rows)
    inside = f"<thead>{top}</thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table>\n{inside}\n</table></div>'


def _settings(settings: Mapping[str, Mapping[str, str]]) -> str:
    if not settings:
        return "<p>None but the seed.</p>"
    variants = list(next(iter(settings.values())))
    rows = [[variant, *(values[variant] for values in settings.values())] for variant in variants]
    cells = [[escape(value) for value in row] for row in [["variant", *settings], *rows]]
    return _table(cells[0], cells[1:], [""] * len(cells[0]))


def _runs(folder: Path, runs: Sequence[str]) -> str:
    rows = []
    for run in runs:
        files = {name: file for name, file in LINKS.items() if (folder / run / file).is_file()}
        links = [_link(f"{run}/{file}", name) for name, file in files.items()]
        rows.append([_link(f"{run}/", run), " ".join(links)])
    return _table(["run", "files"], rows, ["", ""])


def _link(path: str, text: str) -> str:
    return f'<a href="{escape(quote(path))}">{escape(text)}</a>'


def _data(curves: Mapping[str, Mapping[str, Curves]]) -> str:
    """The curves as JSON that can stand in a page; what is not finite is null."""
    variants = [
        {
            "name": variant,
            "color": color,
            "dash": DASHES[linestyle],
            "runs": [
                {
                    "name": run,
                    "curves": {
                        name: [float(f"{v:.6g}") if math.isfinite(v) else None for v in values]
                        for name, values in scalars.items()
                    },
                }
                for run, scalars in runs.items()
            ],
        }
        for number, (variant, runs) in enumerate(curves.items())
        for color, linestyle in [variant_style(number)]
    ]
    return json.dumps(variants).replace("<", "\\u003c")
