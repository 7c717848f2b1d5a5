"""A study: sweeps, run where the committed CSV lacks a row, and their figures and tables."""

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path
from signal import SIGTERM

import yaml
from matplotlib.figure import Figure
from omegaconf import DictConfig
from PIL import Image

from context_agg.cli import signals
from context_agg.cli.compose import CONF, compose_config
from context_agg.cli.sweeps import alternatives
from context_agg.export import export
from context_agg.runs.curves import read_curves
from context_agg.runs.directory import METRICS
from context_agg.runs.finished import finished_scores
from context_agg.runs.reading import read_json
from context_agg.runs.sweep import run_name
from context_agg.runs.table import Row, epoch_rows
from studies.results import (
    FIGURES,
    ROOT,
    Measure,
    add_rows,
    curves_by_run,
    measure,
    read,
)

POLL = 1.0  # seconds between two looks for runs that have finished
ALIGNMENT = "gradients.csv"  # of callbacks=gradient_alignment, in a run's directory


def kept() -> str:
    """What is kept of a study that a signal ends."""
    return "what has been recorded is kept; the same command goes on"


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep, conf/experiment/STUDY/PART.yaml.

    Attributes:
        study: name of the study.
        part: name of the sweep's file.
        lines: the override of every key that the sweep varies, by key.
    """

    study: str
    part: str
    lines: Mapping[str, str]

    @property
    def variant(self) -> tuple[str, ...]:
        """The overrides of this run, except for the seed."""
        return tuple(line for key, line in sorted(self.lines.items()) if key != "seed")

    @property
    def seed(self) -> int:
        return int(self.value("seed"))

    def value(self, key: str) -> str:
        """The value of a key that the sweep varies."""
        return self.lines[key].partition("=")[2]

    @property
    def name(self) -> str:
        """The name of the run in the CSV: "PART/VARIANT/seed-0"."""
        return f"{self.part}/{run_name(','.join(self.variant), self.seed)}"

    @property
    def directory(self) -> Path:
        """The run's directory, relative to the root of the repository."""
        return Path("outputs", self.study, self.name)

    def config(self) -> DictConfig:
        """Composes its whole configuration."""
        return compose_config(f"experiment={self.study}/{self.part}", *self.lines.values())

    @property
    def finished(self) -> bool:
        """Whether its directory holds the finished run.

        Raises:
            FileExistsError: if the run there has other settings than the study has now.
        """
        directory = ROOT / self.directory
        there = (directory / METRICS).is_file()
        return there and finished_scores(directory, self.config()) is not None

    @property
    def is_there(self) -> bool:
        """Whether its directory holds the finished run, and not one of other settings."""
        try:
            return self.finished
        except FileExistsError:
            return False

    def starts_from(self) -> Path | None:
        """The directory of the run whose weights this run starts from."""
        start = self.config().start_from
        return None if start is None else Path(start)


@dataclass(frozen=True)
class Study:
    """One study, as described by one file of studies/.

    Attributes:
        name: name of the study, of its folder in conf/experiment, and of its CSV file.
        choose: which of its runs are wanted; this may depend on what has been recorded, as with a
            learning rate that an earlier part chooses.
        measurements: measurements apart from the sweeps, by the name of their CSV file.
        needs: parts whose runs the measurements read.
        models: the runs one of which is kept in models/, by the name it has there: the one with
            the best held-out accuracy.
        figures: functions that draw the figures from the CSV files and from models/, by name.
        tables: functions that make the documents' tables, in Markdown, by name.
    """

    name: str
    choose: Callable[[Iterable[SweepRun]], Iterable[SweepRun]] = lambda runs: runs
    measurements: Mapping[str, Measure] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    models: Mapping[str, Sequence[str]] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], Figure | Image.Image]] = field(default_factory=dict)
    tables: Mapping[str, Callable[[], str]] = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """The names of its sweeps."""
        return sorted(file.stem for file in (CONF / "experiment" / self.name).glob("*.yaml"))

    def runs(self) -> Iterator[SweepRun]:
        """All runs of the study's sweeps."""
        for part in self.parts:
            file = CONF / "experiment" / self.name / f"{part}.yaml"
            params = yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"]
            options = alternatives(f"{key}={values}" for key, values in params.items())
            for lines in product(*options.values()):
                yield SweepRun(self.name, part, dict(zip(options, lines, strict=True)))

    def wanted(self) -> list[SweepRun]:
        """The runs that are wanted, as far as is known."""
        return list(self.choose(self.runs()))

    def missing(self) -> list[SweepRun]:
        """The wanted runs that have no row in the committed CSV."""
        recorded = {row["run"] for row in read(self.name)}
        return [run for run in self.wanted() if run.name not in recorded]

    def seconds(self) -> float:
        """Total time of the recorded runs and measurements, on one thread each."""
        taken = {row["measurement"]: float(row["seconds"]) for row in read("seconds")}
        measured = sum(taken.get(name, 0) for name in self.measurements)
        return measured + sum(float(row["seconds"]) for row in read(self.name))

    def run(
        self, part: str | None = None, *, jobs: int = 1, until: float = float("inf")
    ) -> list[str]:
        """Runs what is missing, and records every run when it has finished.

        Args:
            part: only this sweep, and what its runs start from; None: all, and the measurements.
            jobs: how many runs at a time, one thread each.
            until: `time.monotonic()` at which running ends; a run that is cut off goes on the
                next time.

        Returns:
            the names of failed runs.

        Raises:
            Stopped: if a signal ends it.
        """
        tried: dict[str, SweepRun] = {}
        while time.monotonic() < until:
            missing = [run for run in self.missing() if part in (None, run.part)]
            new = [run for run in missing if run.name not in tried]
            if not new:
                break
            tried |= {run.name: run for run in new}
            self._train(new, jobs, until)
        if part is None and time.monotonic() < until:
            if any(not read(name) for name in self.measurements):
                self._train([run for run in self.runs() if run.part in self.needs], jobs, until)
            for name, rows in self.measurements.items():
                measure(name, rows)
        if time.monotonic() >= until:
            return []
        return [name for name, run in tried.items() if not run.finished]

    def draw(self) -> None:
        """Draws the figures."""
        for name, draw in self.figures.items():
            picture = draw()
            if isinstance(picture, Figure):
                picture.savefig(FIGURES / f"{name}.png", dpi=100)
            else:
                picture.save(FIGURES / f"{name}.png")

    def _train(self, wanted: Iterable[SweepRun], jobs: int, until: float) -> None:
        """Trains the wanted runs that have not finished, each after the run it starts from."""
        by_directory = {run.directory: run for run in self.runs()}
        stages: dict[tuple[int, str], dict[str, SweepRun]] = {}  # by stage and part

        def add(run: SweepRun) -> int:
            if run.finished:
                return 0
            before = by_directory.get(run.starts_from() or Path())
            stage = 1 + (add(before) if before else 0)
            stages.setdefault((stage, run.part), {})[run.name] = run
            return stage

        for run in wanted:
            add(run)
        missing = self._record(self.missing())
        for (_, part), runs in sorted(stages.items()):
            whole = [run for run in by_directory.values() if run.part == part]
            for lines in _calls(list(runs.values()), whole):
                experiment = f"experiment={self.name}/{part}"
                arguments = [experiment, *lines, f"hydra.launcher.n_jobs={jobs}"]
                missing = self._sweep(arguments, missing, until)

    def _sweep(
        self, arguments: Sequence[str], missing: list[SweepRun], until: float
    ) -> list[SweepRun]:
        """Runs a sweep; records its runs as they finish, and returns those still missing."""
        if time.monotonic() >= until:
            return missing
        command = [sys.executable, "-m", "context_agg.train", *arguments]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        signals.at_once(None)
        sweep = subprocess.Popen(command, cwd=ROOT, env=one_thread, start_new_session=True)
        told = False
        while sweep.poll() is None:
            if not told and (signals.received() or time.monotonic() >= until):
                sweep.send_signal(SIGTERM)  # it ends its runs after a step, with a checkpoint
                told = True
            time.sleep(POLL)
            missing = self._record(missing)
        missing = self._record(missing)
        signals.check()
        signals.at_once(kept)
        return missing

    def _record(self, missing: Iterable[SweepRun]) -> list[SweepRun]:
        """Adds a row for every finished run of these, and returns the others."""
        others = []
        for run in missing:
            if not run.finished:
                others.append(run)
                continue
            order = [run.name for run in self.runs()]
            directory = ROOT / run.directory
            curves = read_curves(directory)
            if (directory / ALIGNMENT).is_file():
                cosines = alignment_rows(run.name, directory / ALIGNMENT)
                add_rows(f"{self.name}_alignment", cosines, order)
            add_rows(f"{self.name}_curves", list(epoch_rows(run.name, curves)), order)
            scores: Row = {"run": run.name, **read_json(directory / METRICS)}
            add_rows(self.name, [scores], order)  # last, as it says that the run is recorded
            self._export(run)
        return others

    def _export(self, run: SweepRun) -> None:
        """Keeps the best of a model's runs in models/, anew for each seed that its card counts."""
        by_name = {run.name: run for run in self.runs()}
        for model, names in self.models.items():
            choices = [by_name[name] for name in names]
            if (run.part, run.variant) not in [(one.part, one.variant) for one in choices]:
                continue
            recorded = curves_by_run(self.name)
            there = [one for one in choices if one.name in recorded]
            best = max(there, key=lambda one: max(recorded[one.name]["val/accuracy"]), default=None)
            if best and best.is_there:
                shutil.rmtree(ROOT / "models" / model, ignore_errors=True)
                export(ROOT / best.directory, ROOT / "models" / model)


def alignment_rows(run: str, file: Path) -> list[Row]:
    """A row for every measured step of a run: the cosine of each layer with the true gradient."""
    with file.open() as stream:
        measured = groupby(csv.DictReader(stream), lambda row: row["step"])
        return [
            {"run": run, "step": step}
            | {row["layer"]: f"{float(row['cosine']):.4f}" for row in layers}
            for step, layers in measured
        ]


def _calls(runs: Sequence[SweepRun], whole: Sequence[SweepRun]) -> Iterator[list[str]]:
    """The overrides of the calls that train some runs of a sweep; one call if it is all of them.

    Seeds of which every variant is to be trained come first, together.
    """
    if len(runs) == len(whole):
        yield []
        return
    by_seed: dict[int, list[SweepRun]] = {}
    for run in runs:
        by_seed.setdefault(run.seed, []).append(run)
    variants = len({run.variant for run in whole})
    full = [seed for seed, of_seed in by_seed.items() if len(of_seed) == variants > 1]
    if full:
        yield [f"seed={','.join(map(str, full))}"]
    rest = [run for run in runs if run.seed not in full]
    for variant, seeds in groupby(sorted(rest, key=lambda run: run.variant), lambda r: r.variant):
        yield [*variant, f"seed={','.join(str(run.seed) for run in seeds)}"]
