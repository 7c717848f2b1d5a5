"""Times whole commands, in turns: how long to the first step, and how a sweep shares the cores.

`python -m benchmarks.commands` prints a line for each. Run it on a machine that is idle.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from benchmarks.limit import cores

ROUNDS = 5
WARM_UP = 1  # files that no process has read yet, kernels that are not compiled yet

FIRST_STEP = """
import os, runpy, sys
from torch.optim.optimizer import register_optimizer_step_pre_hook
register_optimizer_step_pre_hook(lambda *_: os._exit(0))
runpy.run_module("context_agg.train", run_name="__main__", alter_sys=True)
"""
SWEEP = ["-m", "context_agg.train", "-m", "seed=0,1,2,3", "trainer.max_epochs=4"]

COMPARISONS = {
    "start-up": {
        "to the first step of a run": ["-c", FIRST_STEP, "hydra.run.dir={folder}/run"],
        "import lightning, torchvision": ["-c", "import lightning, torchvision"],
    },
    "four runs, 4 epochs": {
        "side by side, one thread each": [
            *SWEEP,
            "hydra/launcher=joblib",
            "hydra.sweep.dir={folder}/runs",
        ],
        "one after another, all threads": [*SWEEP, "hydra.sweep.dir={folder}/runs"],
    },
}
"""Arguments of Python, by what is compared and by name; the first of each is what we do."""


def seconds(arguments: list[str]) -> float:
    """How long Python takes with these arguments; a folder of its own is there meanwhile.

    Raises:
        RuntimeError: if it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        filled = [argument.replace("{folder}", folder) for argument in arguments]
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *filled], capture_output=True, text=True)
        elapsed = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended: {done.stderr.strip()[-2000:]}")
    return elapsed


def measurements(rounds: int = ROUNDS) -> Iterator[dict[str, Any]]:
    """Measures each comparison, and prints what came out."""
    for what, commands in COMPARISONS.items():
        times: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(WARM_UP + rounds):
            for name, arguments in commands.items():
                elapsed = seconds(arguments)
                if number >= WARM_UP:
                    times[name].append(round(elapsed, 2))
        for name, row in times.items():
            print(f"{what}: {name} {median(row):.1f} s", flush=True)
        yield {"comparison": what, "threads": cores(), "seconds": times}


def main() -> None:
    """Runs the command."""
    for _ in measurements():
        pass  # it prints


if __name__ == "__main__":
    main()
