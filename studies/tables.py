"""Makes the tables of the documents, in Markdown, from the recorded numbers.

A table goes between `<!-- table NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from context_agg.runs.table import COLUMNS, Row, as_markdown, in_words, summarise
from studies.results import ROOT, read
from studies.study import Study, SweepRun

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


IN_TABLES = tuple(column for column in COLUMNS if column != "seconds")
"""Columns of the documents' tables: the runs had the machine for themselves or not."""

Runs = dict[str, dict[str, float]]
"""The scores of the runs of a variant, by seed."""


def scores(study: str, part: str) -> dict[str, Runs]:
    """The recorded scores of one part of a study: for each variant, those of its runs."""
    variants: dict[str, Runs] = {}
    for row in read(study):
        variant, _, seed = row.pop("run").rpartition("/")
        if variant.partition("/")[0] == part:
            numbers = {column: float(value) for column, value in row.items() if value}
            variants.setdefault(variant, {})[seed] = numbers
    return variants


def sweep_table(
    study: str,
    parts: Mapping[str, str],
    columns: Sequence[str] = IN_TABLES,
    baselines: str | Mapping[str, str] | None = None,
) -> str:
    """A table of means with their 95 % intervals, for every variant of some parts of a study.

    A part that has no row yet is a row without numbers.

    Args:
        study: name of the study.
        parts: the words before the variant in the rows of each part, by part; may be empty.
        columns: columns of the table.
        baselines: what the variants are compared with, in words: one for all, or by variant.
    """
    variants: dict[str, Runs] = {}
    for part, words in parts.items():
        recorded = scores(study, part) or {part: {}}
        variants |= {variant_in_words(variant, words): runs for variant, runs in recorded.items()}
    return as_markdown(compared(variants, baselines), columns)


def compared(
    variants: Mapping[str, Runs], baselines: str | Mapping[str, str] | None = None
) -> list[Row]:
    """The rows of a table of these variants, which are compared with one of them, or several."""
    if isinstance(baselines, str):
        baselines = {variant: baselines for variant in variants if variant != baselines}
    return summarise(variants, baselines)


def named_runs(study: Study, words: Callable[[SweepRun], str | None]) -> dict[str, Runs]:
    """The recorded scores of a study's runs by the words for them; a run without words is left out.

    Words without a recorded run have none.
    """
    variants: dict[str, Runs] = {}
    recorded = {
        row.pop("run"): {column: float(value) for column, value in row.items() if value}
        for row in read(study.name)
    }
    for run in study.runs():
        if name := words(run):
            runs = variants.setdefault(name, {})
            if run.name in recorded:
                runs[str(run.seed)] = recorded[run.name]
    return variants


def variant_in_words(variant: str, words: str = "") -> str:
    """`backprop/backprop-auto_model.init-normal` -> `auto, normal`, preceded by the words."""
    part, _, varied = variant.partition("/")
    return ", ".join(filter(None, [words or ("" if varied else part), in_words(varied)]))


def plain_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Formats the rows without any change; numbers are right-aligned."""
    if not rows:
        return "missing\n"
    first, *others = rows[0]
    lines = [f"| {' | '.join(rows[0])} |", f"| {'---'} |" + " ---: |" * len(others)]
    lines += [f"| {row[first]} | {' | '.join(row[name] for name in others)} |" for row in rows]
    return "\n".join(lines) + "\n"


def with_tables(document: Path, tables: Mapping[str, Callable[[], str]]) -> str:
    """The document's text with its tables rewritten."""

    def fill(match: re.Match[str]) -> str:
        return f"{match[1]}\n{tables[match[2]]()}{match[3]}"

    pattern = r"(<!-- table (\w+) -->)\n.*?(<!-- end -->)"
    return re.sub(pattern, fill, document.read_text(), flags=re.DOTALL)
