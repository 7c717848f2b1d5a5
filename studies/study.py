"""A study: sweeps, run where the committed CSV lacks a row, and their figures and tables."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, product
from pathlib import Path

import yaml
from matplotlib.figure import Figure
from omegaconf import DictConfig
from PIL import Image

from context_agg.cli.compose import CONF, compose_config
from context_agg.cli.sweeps import alternatives
from context_agg.export import export
from context_agg.runs.curves import read_curves
from context_agg.runs.directory import METRICS
from context_agg.runs.finished import finished_scores
from context_agg.runs.reading import read_json
from context_agg.runs.sweep import run_name
from context_agg.runs.table import Row, epoch_rows
from studies.results import FIGURES, ROOT, Measure, add_rows, measure, read


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
        return int(self.lines["seed"].partition("=")[2])

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

    def starts_from(self) -> Path | None:
        """The directory of the run whose weights this run starts from."""
        start = self.config().start_from
        return None if start is None else Path(start)


@dataclass(frozen=True)
class Study:
    """One study, as described by one file of studies/.

    Attributes:
        name: name of the study, of its folder in conf/experiment, and of its CSV file.
        measurements: measurements apart from the sweeps, by the name of their CSV file.
        needs: parts whose runs the measurements read.
        models: the runs whose weights are kept in models/, by the name they have there.
        figures: functions that draw the figures from the CSV files and from models/, by name.
        tables: functions that make the documents' tables, in Markdown, by name.
    """

    name: str
    measurements: Mapping[str, Measure] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Callable[[], Figure | Image.Image]] = field(default_factory=dict)
    tables: Mapping[str, Callable[[], str]] = field(default_factory=dict)

    def runs(self) -> Iterator[SweepRun]:
        """All runs of the study's sweeps."""
        for file in sorted((CONF / "experiment" / self.name).glob("*.yaml")):
            params = yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"]
            options = alternatives(f"{key}={values}" for key, values in params.items())
            for lines in product(*options.values()):
                yield SweepRun(self.name, file.stem, dict(zip(options, lines, strict=True)))

    def missing(self) -> list[SweepRun]:
        """The runs that have no row in the committed CSV."""
        recorded = {row["run"] for row in read(self.name)}
        return [run for run in self.runs() if run.name not in recorded]

    def seconds(self) -> float:
        """Total time of the recorded runs and measurements, on one thread each."""
        taken = {row["measurement"]: float(row["seconds"]) for row in read("seconds")}
        measured = sum(taken.get(name, 0) for name in self.measurements)
        return measured + sum(float(row["seconds"]) for row in read(self.name))

    def run(self) -> list[str]:
        """Runs and records what is missing; returns the names of failed runs."""
        missing = self.missing()
        unmeasured = [name for name in self.measurements if not read(name)]
        needed = [run for run in self.runs() if unmeasured and run.part in self.needs]
        self._train([*missing, *needed])
        self._record(missing)
        for name, rows in self.measurements.items():
            measure(name, rows)
        return [run.name for run in missing if not run.finished]

    def draw(self) -> None:
        """Draws the figures."""
        for name, draw in self.figures.items():
            picture = draw()
            if isinstance(picture, Figure):
                picture.savefig(FIGURES / f"{name}.png", dpi=100)
            else:
                picture.save(FIGURES / f"{name}.png")

    def _train(self, wanted: Iterable[SweepRun]) -> None:
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
        for (_, part), runs in sorted(stages.items()):
            whole = [run for run in by_directory.values() if run.part == part]
            for lines in _calls(list(runs.values()), whole):
                command = [sys.executable, "-m", "context_agg.train"]
                experiment = f"experiment={self.name}/{part}"
                subprocess.run([*command, experiment, *lines], cwd=ROOT, check=False)

    def _record(self, runs: Iterable[SweepRun]) -> None:
        scores: list[Row] = []
        epochs: list[Row] = []
        finished = [run for run in runs if run.finished]
        for run in finished:
            directory = ROOT / run.directory
            scores.append({"run": run.name, **read_json(directory / METRICS)})
            epochs += epoch_rows(run.name, read_curves(directory))
        add_rows(self.name, scores)
        add_rows(f"{self.name}_curves", epochs)
        self._export({run.name: run for run in finished})

    def _export(self, finished: Mapping[str, SweepRun]) -> None:
        for model, name in self.models.items():
            if name in finished:
                shutil.rmtree(ROOT / "models" / model, ignore_errors=True)
                export(ROOT / finished[name].directory, ROOT / "models" / model)


def _calls(runs: list[SweepRun], whole: list[SweepRun]) -> Iterator[list[str]]:
    """The overrides of the calls that train some runs of a sweep; one call if it is all of them."""
    if len(runs) == len(whole):
        yield []
        return
    for variant, seeds in groupby(sorted(runs, key=lambda run: run.variant), lambda r: r.variant):
        yield [*variant, f"seed={','.join(str(run.seed) for run in seeds)}"]
