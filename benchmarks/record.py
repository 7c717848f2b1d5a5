"""Keeps what was measured, with the machine and the versions, as docs/results/NAME.json."""

import json
import platform
import subprocess
import time
from collections.abc import Iterable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.limit import cores
from benchmarks.turns import Measurement
from context_agg.ops.native.compiler import compiler
from studies.results import RESULTS

PACKAGES = (
    *("context_agg", "torch", "lightning", "numpy"),
    *("tensorflow-cpu", "tensorflow", "keras", "jax", "flax", "optax"),
)

Record = dict[str, Any]
"""Date, duration, machine and versions, and the measurements."""


def measure(name: str, measurements: Iterable[Measurement]) -> None:
    """Measures, and writes the record when all is done."""
    start = time.perf_counter()
    measured = list(measurements)
    head = {
        "date": date.today().isoformat(),
        "minutes": round((time.perf_counter() - start) / 60, 1),
        "machine": machine(),
        "versions": versions(),
    }
    file = RESULTS / f"{name}.json"
    part = file.with_suffix(".part")
    part.write_text(as_text(head, measured))
    part.rename(file)


def as_text(head: Record, measured: Iterable[Measurement]) -> str:
    """JSON with a measurement in a line, so that a difference can be read."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
    rows = ",\n".join(f"  {json.dumps(row)}" for row in measured)
    return "\n".join(["{", *lines, ' "measurements": [', rows, " ]", "}"]) + "\n"


def read(name: str) -> Record:
    """A record."""
    record: Record = json.loads((RESULTS / f"{name}.json").read_text())
    return record


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "processor": processor(),
        "cores": cores(),
        "gibibytes": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor() -> str:
    """The name of the processor, and its family and model, which tell its generation."""
    try:
        text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return platform.processor()
    fields = (line.partition(":") for line in text.splitlines())
    known = {key.strip(): value.strip() for key, _, value in fields}
    name = known.get("model name", platform.machine())
    parts = [f"{key} {known[key]}" for key in ("cpu family", "model") if key in known]
    return ", ".join([name, *parts])


def versions() -> dict[str, str]:
    """Of Python, the packages that are installed, and the compiler."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    path = compiler()
    if path is not None:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        found["compiler"] = said.stdout.splitlines()[0]
    return found
