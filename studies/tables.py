"""Makes the tables of the documents, in Markdown, from the recorded numbers.

A table goes between `<!-- table NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from context_agg.runs.table import COLUMNS, as_markdown, summarise
from studies.results import ROOT, read

DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def scores(study: str, part: str) -> dict[str, list[dict[str, float]]]:
    """The recorded scores of one part of a study: for each variant, those of its runs (seeds)."""
    variants: dict[str, list[dict[str, float]]] = {}
    for row in read(study):
        run = row.pop("run")
        if run.startswith(f"{part}/"):
            numbers = {column: float(value) for column, value in row.items() if value}
            variants.setdefault(run.rpartition("/")[0], []).append(numbers)
    return variants


def sweep_table(study: str, parts: Mapping[str, str], columns: Sequence[str] = COLUMNS) -> str:
    """A table of mean and spread over seeds, for every variant of some parts of a study.

    Args:
        study: name of the study.
        parts: the words before the variant in the rows of each part, by part; may be empty.
        columns: columns of the table.
    """
    variants = {
        in_words(variant, words): runs
        for part, words in parts.items()
        for variant, runs in scores(study, part).items()
    }
    return as_markdown(summarise(variants), columns)


def in_words(variant: str, words: str = "") -> str:
    """`backprop/backprop-auto_model.init-normal` -> `auto, normal`, preceded by the words."""
    _, _, varied = variant.partition("/")
    values = re.sub(r"(^|_)[a-z_.]+-", r"\1", varied).replace("_", ", ")
    return ", ".join(filter(None, [words, values]))


def plain_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Formats the rows without any change; numbers are right-aligned."""
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
