"""Reads what a run records of itself: the kind of its data, and its scores."""

import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from context_agg.data.spec import VOID, DataSpec
from context_agg.runs.directory import DATA_SPEC, FORMAT, METRICS
from context_agg.runs.reading import WAY_OUT, read_json

Requirement = tuple[Callable[[Any], bool], str]
"""Whether a value is right, and what it must be, in words."""


# The checks of context_agg.ops would import torch, which `report` does without.
def _is_number(value: Any) -> bool:
    finite = isinstance(value, int | float) and abs(value) <= sys.float_info.max
    return finite and type(value) is not bool


def _is_whole(value: Any, least: int = 1) -> bool:
    return type(value) is int and least <= value < 2**31


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_whole, value))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def _are_classes(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(map(_is_name, value))
        and 0 < len(set(value)) == len(value) <= VOID
    )


def _is_score(value: Any) -> bool:
    return _is_number(value) or (isinstance(value, float) and math.isnan(value))


SPEC: Mapping[str, Requirement] = {
    "format": (lambda value: value == FORMAT, str(FORMAT)),
    "name": (_is_name, "a name"),
    "in_channels": (_is_whole, "a whole number, 1 or more"),
    "image_size": (_are_sizes, "two whole numbers, 1 or more"),
    "classes": (_are_classes, f"a list of different names, {VOID} at most"),
    "margin": (lambda value: _is_whole(value, 0), "a whole number, 0 or more"),
    "dense": (lambda value: isinstance(value, bool), "true or false"),
    "ink": (lambda value: isinstance(value, bool), "true or false"),
}
"""The keys of data.json."""

NEEDED: Mapping[str, Requirement] = {
    "epochs": (_is_whole, "a whole number, 1 or more"),
    "seconds": (lambda value: _is_number(value) and value >= 0, "a number, 0 or more"),
    "final/accuracy": (_is_number, "a finite number"),
    "test/loss": (_is_number, "a finite number"),
    "test/accuracy": (_is_number, "a finite number"),
}
"""The keys that metrics.json has at least."""

SCORE: Requirement = (_is_score, "a number")
"""Other scores; the IoU of a class that does not occur is NaN."""


def check_format(run_dir: Path) -> None:
    """Rejects a run that another version has written in another format.

    Raises:
        OSError, ValueError: if the format is not `FORMAT`, or the file cannot be read.
    """
    file = run_dir / DATA_SPEC
    data = read_json(file) if os.path.lexists(file) else {"format": FORMAT}
    written = data.get("format", 1) if isinstance(data, dict) else FORMAT
    if written != FORMAT:
        raise ValueError(
            f"{run_dir} is a run of format {brief(written)}, but this version of context_agg reads "
            f"format {FORMAT}; delete it and train it again, or use the version that wrote it"
        )


def read_spec(run_dir: Path) -> DataSpec:
    """Reads the description of the data that a run was trained on.

    Raises:
        FileNotFoundError: if this is not the directory of a run.
        OSError, ValueError: if the file is not what a run writes.
    """
    file = run_dir / DATA_SPEC
    if not os.path.lexists(file):
        raise FileNotFoundError(f"{run_dir} is not the directory of a run: no {DATA_SPEC} in it")
    check_format(run_dir)
    spec = read_json(file)
    if isinstance(spec, dict):  # earlier versions have not written it, and took all grey for ink
        spec.setdefault("ink", spec.get("in_channels") == 1)
    _check(file, spec, SPEC, None, WAY_OUT)
    del spec["format"]
    lists = {name: tuple(value) for name, value in spec.items() if isinstance(value, list)}
    read = DataSpec(**spec | lists)
    if 2 * read.margin >= min(read.image_size):
        raise ValueError(
            f"{file}: a margin of {read.margin} leaves nothing of the image; {WAY_OUT}"
        )
    if read.ink and read.in_channels != 1:
        raise ValueError(f"{file}: ink=True needs in_channels=1, not {read.in_channels}; {WAY_OUT}")
    return read


def check_spec(run_dir: Path, spec: DataSpec) -> None:
    """Rejects data that are not those that a run was trained on.

    Raises:
        OSError, ValueError: as `read_spec`; if they differ, naming the first difference.
    """
    ours, theirs = asdict(spec), asdict(read_spec(run_dir))
    del ours["ink"]  # it changes no result, and is a guess where an earlier version wrote the file
    for name in ours:
        if ours[name] != theirs[name]:
            raise ValueError(
                f"{run_dir / DATA_SPEC} says that the run was trained on data with "
                f"{name}={brief(theirs[name])}, but the data here have {name}={brief(ours[name])}; "
                "take the file from a copy, or use the data of the run"
            )


def read_scores(run_dir: Path) -> dict[str, float]:
    """Reads the scores of a finished run.

    Raises:
        FileNotFoundError: if the run has not finished.
        OSError, ValueError: if the file is not what a run writes.
    """
    file = run_dir / METRICS
    if not os.path.lexists(file):
        raise FileNotFoundError(f"the run in {run_dir} has not finished: it has no {METRICS}")
    scores = read_json(file)
    way_out = f"take it from a copy, or delete it and test the run again with resume={run_dir}"
    _check(file, scores, NEEDED, SCORE, way_out)
    return dict(scores)


def _check(
    file: Path,
    content: Any,
    needed: Mapping[str, Requirement],
    other: Requirement | None,
    way_out: str,
) -> None:
    """Rejects what is not a flat object with these keys; `other` is for further keys, if any."""
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold an object, not {brief(content)}; {way_out}")
    for key in (*needed, *content):
        if key not in content:
            raise ValueError(f"{file} has no {key}; {way_out}")
        is_right, requirement = needed.get(key, other) or (None, "")
        if is_right is None:
            raise ValueError(f"{file} has a key {brief(key)}, which no run writes; {way_out}")
        if not is_right(content[key]):
            raise ValueError(
                f"{file}: {key}={brief(content[key])} must be {requirement}; {way_out}"
            )
