"""constraints-lowest.txt holds the oldest versions that pyproject.toml allows."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_lowest_versions_are_the_lower_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["test"] + extras["tune"] + extras["slurm"]
    bounds = [re.sub(r"^([\w-]+)>=([\w.]+).*", r"\1==\2", line) for line in lines]
    text = (ROOT / "constraints-lowest.txt").read_text()
    assert [line for line in text.splitlines() if line[:1] != "#"] == bounds
