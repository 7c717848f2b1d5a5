"""A study of Optuna in a folder, which several processes work on, and which survives their end.

Whatever ends a process, the lock on its trial ends with it, and the next process takes the trial up
in the same directory, where the run goes on. The suggestions for a trial depend on its number and
on the trials before it, so that a search by one process repeats, killed or not.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DatabaseError

from context_agg.cli.space import Range, Space
from context_agg.runs.directory import MARK
from context_agg.runs.locks import locked, take

DATABASE = "study.db"
LOCKS = ".locks"
NAME = "search"  # of the study in its database
SEARCH = "search"  # attribute of the study: what it is over
BEGAN = "began"  # attribute of a trial: after how many epochs each of its processes has begun
ERROR = "error"  # attribute of a failed trial: why
MOST_TRIES = 3  # to get through an epoch
WAIT = 60  # seconds for another process to finish writing


class Search:
    """The trials of a study.

    Args:
        folder: where the study is, or begins.
        space: what it is over.

    Raises:
        FileExistsError: if the folder holds other files, or a study over something else.
        OSError: if the folder cannot be written to.
        ValueError: if the study cannot be read.
    """

    def __init__(self, folder: Path, space: Space) -> None:
        self.folder = folder
        self.space = space
        database = folder / DATABASE
        if not database.exists() and folder.is_dir() and set(os.listdir(folder)) - {MARK, LOCKS}:
            raise FileExistsError(f"{folder} holds files, but no search; name a new one: --out DIR")
        (folder / LOCKS).mkdir(parents=True, exist_ok=True)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._alone():
            self.study = _open(database, space)

    def directory(self, trial: optuna.Trial | FrozenTrial) -> Path:
        """The directory of the run of a trial."""
        return self.folder / f"trial-{trial.number:04d}"

    @contextmanager
    def trial(self, most: int) -> Iterator[optuna.Trial | None]:
        """A trial to run: one that nobody runs any more, or a new one; None if there are enough.

        Other processes leave it alone for as long as this lasts.

        Args:
            most: how many trials the study is to have.
        """
        with self._alone():
            trial, lock = self._left_alone() or self._new(most) or (None, None)
        try:
            yield trial
        finally:
            if lock is not None:
                os.close(lock)

    def suggest(self, trial: optuna.Trial) -> None:
        """Fixes the value of every key of the space for a trial, unless that has been done."""
        for key, values in self.space.keys.items():
            if not isinstance(values, Range):
                trial.suggest_categorical(key, values)
            elif isinstance(values.low, int) and isinstance(values.high, int):
                low, high, step = values.low, values.high, int(values.step or 1)
                trial.suggest_int(key, low, high, step=step, log=values.log)
            else:
                trial.suggest_float(key, values.low, values.high, step=values.step, log=values.log)

    def lines(self, trial: optuna.Trial | FrozenTrial) -> list[str]:
        """The overrides of the run of a trial."""
        return [*self.space.settings, *(f"{key}={trial.params[key]}" for key in self.space.keys)]

    def reported(self, trial: optuna.Trial) -> set[int]:
        """The epochs, counted from 0, whose values the study has."""
        return set(self._recorded(trial).intermediate_values)

    def tell(self, trial: optuna.Trial, values: Sequence[float]) -> None:
        """Ends a trial whose run is complete; its value is that of the best epoch.

        Args:
            trial: the trial.
            values: those of the monitor, by epoch.
        """
        value = max(values) if self.space.mode == "max" else min(values)
        if math.isnan(value):
            self.fail(trial, f"{self.space.monitor} is {value}")
        else:
            self.study.tell(trial, value)

    def give_back(self, trial: optuna.Trial) -> None:
        """Leaves a trial to the next process; that this one has begun it does not count."""
        trial.set_user_attr(BEGAN, self._recorded(trial).user_attrs[BEGAN][:-1])

    def best(self) -> FrozenTrial | None:
        """The best trial; None if none is complete."""
        complete = self.study.get_trials(states=(TrialState.COMPLETE,))
        return self.study.best_trial if complete else None

    def fail(self, trial: optuna.Trial, why: str) -> None:
        """Ends a trial that has no result."""
        trial.set_user_attr(ERROR, why)
        self.study.tell(trial, state=TrialState.FAIL)

    def _recorded(self, trial: optuna.Trial | FrozenTrial) -> FrozenTrial:
        return self.study.get_trials()[trial.number]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(self.folder / MARK):
            yield

    def _left_alone(self) -> tuple[optuna.Trial, int] | None:
        """A trial whose process has ended, with its lock; one that ends every process fails."""
        for running in self.study.get_trials(states=(TrialState.RUNNING,)):
            lock = take(self.folder / LOCKS / f"{running.number}")
            if lock is None:
                continue
            now = self._recorded(running)
            if now.state is TrialState.RUNNING:  # and has not ended in the meantime
                self.study.sampler = _sampler(now.number)
                trial = optuna.Trial(self.study, now._trial_id)
                epochs = len(now.intermediate_values)
                began = [*now.user_attrs.get(BEGAN, ()), epochs]
                trial.set_user_attr(BEGAN, began)
                if began.count(epochs) <= MOST_TRIES:
                    return trial, lock
                self.fail(trial, f"{MOST_TRIES} processes have ended in epoch {epochs + 1}")
            os.close(lock)
        return None

    def _new(self, most: int) -> tuple[optuna.Trial, int] | None:
        number = len(self.study.get_trials(deepcopy=False))
        if number >= most:
            return None
        lock = take(self.folder / LOCKS / f"{number}")
        assert lock is not None, "nobody else has a trial of this number"
        self.study.sampler = _sampler(number)
        trial = self.study.ask()
        trial.set_user_attr(BEGAN, [0])
        return trial, lock


def _sampler(number: int) -> optuna.samplers.BaseSampler:
    """Suggests the same values for a trial whichever process it is that asks."""
    return optuna.samplers.TPESampler(seed=number)


def _open(database: Path, space: Space) -> optuna.Study:
    settings = json.loads(json.dumps(asdict(space)))
    try:
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{database.absolute()}",
            engine_kwargs={"connect_args": {"timeout": WAIT}},
        )
        study = optuna.create_study(
            storage=storage,
            study_name=NAME,
            direction="maximize" if space.mode == "max" else "minimize",
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        was = study.user_attrs.get(SEARCH)
        if was is None:
            study.set_user_attr(SEARCH, settings)
    except (DatabaseError, RuntimeError) as error:  # damaged; of another version of Optuna
        said = str(getattr(error, "orig", error)).partition("\n")[0]
        raise ValueError(
            f"cannot read {database}: {said}; take it from a copy, or name a new folder: --out DIR"
        ) from error
    if was not in (None, settings):
        differ = ", ".join(part for part in settings if settings[part] != was.get(part))
        raise FileExistsError(
            f"{database.parent} holds a search with another choice of {differ}; name a new folder: "
            "--out DIR"
        )
    return study
