"""How a sweep behaves (`python -m context_agg.train -m ...`), as a callback of Hydra.

Directories are named after the overrides, each run prints to its own log file, a failed run does
not stop the others, and a table is written at the end.
"""

import copy
import io
import itertools
import os
import re
import shlex
import sys
import traceback
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from context_agg.cli import signals
from context_agg.cli.errors import exit_on_mistake
from context_agg.cli.sweeps import alternatives, file_params
from context_agg.runs import devices, slurm
from context_agg.runs.claim import claim
from context_agg.runs.directory import LAST, LOG, METRICS, PREVIOUS, forget
from context_agg.runs.summary import epochs
from context_agg.runs.table import FILES, write_report

BASIC_LAUNCHER = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
JOBLIB_LAUNCHER = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
SLURM_LAUNCHER = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher"
ALL_CORES = -1  # hydra.launcher.n_jobs if nothing sets it
PREEMPT = "SUBMITIT_PREEMPT_SIGNAL"  # names submitit's signal, if it is not USR2
STAY = (
    "the jobs stay with Slurm (squeue lists them, scancel ends them); when none is left, the same "
    "command goes on and makes the table"
)
UNNAMED = "outputs/sweep"  # hydra.sweep.dir in conf/train.yaml, if nothing else sets it
FAILURES = "failures.txt"  # a line per failed run: the jobs append, the end of the sweep reads


def file_name(overrides: str) -> str:
    """`backprop=auto,model.init=normal` -> `backprop-auto_model.init-normal`: no `=`, `,`, `/`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", overrides.replace(",", "_")).strip("-")


def run_name(varied: str, seed: int) -> str:
    """The path of a run in its sweep: "what-varies/seed-0", or "seed-0" if only the seed varies."""
    name = file_name(varied)
    return f"{name}/seed-{seed}" if name else f"seed-{seed}"


OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def run_dirs(config: DictConfig, varied: Mapping[str, Sequence[str]]) -> set[Path]:
    """The directories of the runs of a sweep.

    Args:
        config: the configuration of the sweep.
        varied: the overrides of each key that names the runs, one per value, and of the seed.
    """
    config = copy.deepcopy(config)
    dirs = set()
    with flag_override(config, ["readonly", "struct"], [False, False]):
        for lines in itertools.product(*varied.values()):
            line_of = dict(zip(varied, lines, strict=True))
            if seed := line_of.pop("seed", ""):
                config.seed = int(seed.partition("=")[2])
            config.hydra.job.override_dirname = ",".join(sorted(line_of.values()))
            dirs.add(Path(config.hydra.sweep.dir, config.hydra.sweep.subdir))
    return dirs


def describe(run_dirs: Collection[Path]) -> str:
    """Says how many of the runs in these directories have finished, were cut off, or begin."""
    finished = {run_dir for run_dir in run_dirs if (run_dir / METRICS).is_file()}
    cut_off = {
        run_dir
        for run_dir in set(run_dirs) - finished
        if any((run_dir / file).is_file() for file in (LAST, PREVIOUS))
    }
    counts = {
        "finished before": len(finished),
        "cut off, which go on": len(cut_off),
        "to begin": len(run_dirs) - len(finished) - len(cut_off),
    }
    parts = [f"{count} {what}" for what, count in counts.items() if count]
    return f"{len(run_dirs)} runs: {', '.join(parts)}"


def _is_slurm(config: DictConfig) -> bool:
    return bool(config.hydra.launcher._target_ == SLURM_LAUNCHER)


class RunLog(io.TextIOBase):
    """Appends to a file; opens it when something is printed, as the run has its folder by then."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file
        self._stream: TextIO | None = None

    def write(self, text: str) -> int:
        self._stream = self._stream or self._file.open("a", buffering=1)
        return self._stream.write(text)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().close()


class Sweep(Callback):
    """Names the runs of a sweep, separates their output, survives failures, writes the report."""

    def __init__(self) -> None:
        self._terminal: TextIO = sys.stdout
        self._finished_before = False
        self._pid = os.getpid()  # of the process that the sweep was started with
        self._run_dirs: set[Path] = set()
        self._devices: list[str] = []  # that the workers share
        self._slots = Path()  # where they say who has which
        self._claim = ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets: not the lock."""
        return {**self.__dict__, "_claim": None}

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Names the sweep after its varied keys and fixed overrides, a run after what varies.

        Says how many of the runs have finished before, and how many go on.

        A sweep directory that the command line or a file sets is kept. A key that a file sweeps
        over stays in the names of the runs even if the command line gives it a single value.
        """
        given = alternatives(config.hydra.overrides.task)
        swept = {key for key, lines in given.items() if len(lines) > 1}
        varied = alternatives(file_params(config.hydra))
        swept |= varied.keys()
        constant = {key: lines[0].lstrip("+") for key, lines in given.items() if key not in swept}
        # Each run composes its configuration from these overrides and its own.
        overrides = config.hydra.overrides.hydra
        if config.hydra.sweep.dir == UNNAMED:
            same = sorted(line for key, line in constant.items() if key != "seed")
            name = file_name(",".join(["", *sorted(swept - {"seed"}), *same]))
            config.hydra.sweep.dir = f"{UNNAMED}{name}"
            overrides.append(f"hydra.sweep.dir={config.hydra.sweep.dir}")
        excluded = ",".join(dict.fromkeys(["seed", *constant]))
        overrides.append(f"hydra.job.config.override_dirname.exclude_keys=[{excluded}]")
        sweep_dir = Path(config.hydra.sweep.dir)
        with exit_on_mistake():
            self._claim.enter_context(claim(sweep_dir))
        (sweep_dir / FAILURES).unlink(missing_ok=True)
        signals.at_once(None)
        varied |= {key: lines for key, lines in given.items() if key in {*swept, "seed"}}
        self._run_dirs = run_dirs(config, varied)
        print(f"{sweep_dir}: {describe(self._run_dirs)}", flush=True)
        launcher = config.hydra.launcher._target_
        if _is_slurm(config):
            signals.at_once(lambda: STAY)
            slurm.tell_in_one_message()
        elif launcher != BASIC_LAUNCHER:
            if launcher == JOBLIB_LAUNCHER:
                self._share_devices(config)
            signals.lead_workers()

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Redirects what the run prints to its own log, as several runs may run in parallel."""
        if config.hydra.mode is RunMode.MULTIRUN:
            if _is_slurm(config):
                signals.hold(Signals[f"SIG{os.environ.get(PREEMPT, 'USR2')}"])
            elif os.getpid() != self._pid:
                signals.follow(self._pid)
                if self._devices:
                    devices.take_device(self._devices, self._slots)
            run_dir = Path(config.hydra.runtime.output_dir)
            self._finished_before = (run_dir / METRICS).is_file()
            log = Path(os.devnull) if self._finished_before else run_dir / LOG
            self._terminal, sys.stdout = sys.stdout, RunLog(log)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Prints the result of a run; records a failure, so that the other runs continue."""
        if config.hydra.mode is not RunMode.MULTIRUN:
            return
        run_dir = Path(config.hydra.runtime.output_dir)
        sys.stdout.close()
        sys.stdout = self._terminal
        signals.end_if_left_alone()
        sweep_dir = Path(config.hydra.sweep.dir)
        name = run_dir.relative_to(sweep_dir.absolute())
        try:
            scores = job_return.return_value
        except Exception as error:
            if not isinstance(error, CompactHydraException):
                traceback.print_exception(error)
            message = " ".join(str(error).split()) or type(error).__name__
            with (sweep_dir / FAILURES).open("a") as file:
                file.write(f"{name}: {message}\n")
            print(f"{name}  failed: {message}", flush=True)
            job_return.status, job_return.return_value = JobStatus.COMPLETED, None
        else:
            if scores:
                print(
                    f"{name}  test accuracy {scores['test/accuracy']:.4f}, loss "
                    f"{scores['test/loss']:.4f}; {epochs(scores)}"
                    f"{' (finished before)' * self._finished_before}",
                    flush=True,
                )
            else:
                forget(run_dir, log=True)  # if it has not begun
        if _is_slurm(config):
            signals.hand_over(done=job_return.return_value != {})
        elif os.getpid() == self._pid:
            self._stop_if_asked()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Writes the table of all finished runs of the sweep, then lists the failed runs."""
        sweep_dir = Path(config.hydra.sweep.dir)
        signals.at_once(None)
        with exit_on_mistake(), self._claim:
            self._stop_if_asked()
            if any(sweep_dir.rglob(METRICS)):
                report = write_report(sweep_dir)
                print(*report.left_out, sep="\n")
                if report.table:
                    print(f"{report.table}\nwritten to {sweep_dir}: {', '.join(FILES)}")
            failures = []
            if (sweep_dir / FAILURES).is_file():
                failures = sorted((sweep_dir / FAILURES).read_text().splitlines())
            for failure in failures:
                forget(sweep_dir / failure.partition(":")[0], log=True)
            if failures:
                lines = "\n  ".join(failures)
                raise SystemExit(f"{len(failures)} failed (run again to repeat them):\n  {lines}")

    def _share_devices(self, config: DictConfig) -> None:
        """Lets as many jobs run at a time as there are CUDA devices, if there are any."""
        import torch

        count = 0 if config.trainer.accelerator == "cpu" else torch.cuda.device_count()
        self._devices = devices.names(count, os.environ)
        if self._devices:
            self._slots = Path(self._claim.enter_context(TemporaryDirectory()))
            if config.hydra.launcher.n_jobs == ALL_CORES:
                config.hydra.launcher.n_jobs = count

    def _stop_if_asked(self) -> None:
        """Ends the sweep if a signal has arrived.

        Raises:
            Stopped: if so, with the command that goes on.
        """
        if by := signals.received():
            finished = sum((run_dir / METRICS).is_file() for run_dir in self._run_dirs)
            command = shlex.join(["python", "-m", "context_agg.train", *sys.argv[1:]])
            raise signals.Stopped(
                by, f"{finished} of {len(self._run_dirs)} runs have finished; go on with: {command}"
            )
