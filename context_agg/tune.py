"""Search for settings: `python -m context_agg.tune FILE [KEY=VALUE ...]`.

FILE says in YAML what to search for and over what:

  monitor: val/accuracy            # or val/iou, val/loss (the smallest is best)
  settings:                        # of every trial; more follow on the command line
    trainer.max_epochs: 10
  space:
    model.init: [identity, normal]                      # listed values
    optimizer.lr: {low: 0.0001, high: 0.1, log: true}   # a range
    model.channels: {low: 4, high: 16, step: 4}         # whole numbers

A trial is a run with a directory of its own. Optuna suggests its values, and gives it up after an
epoch if it does worse than the median of the trials before. Several processes can work on the same
search: start the command again. After a kill, start it again too: trials go on where they were cut
off. The best configuration is written as an experiment, for train's --config-dir.
"""

if __name__ == "__main__":
    from context_agg.cli import signals

    signals.install()  # before the imports, as they take time

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from context_agg.cli import signals, streams
from context_agg.cli.errors import UserError, exit_on_mistake, one_message
from context_agg.cli.keys import check_command_line
from context_agg.cli.parser import command_parser
from context_agg.cli.places import check_writable
from context_agg.cli.quiet import quiet
from context_agg.cli.space import Space, read_space
from context_agg.cli.sweeps import file_params

if TYPE_CHECKING:
    import optuna

    from context_agg.runs.search import Search


def tune(folder: Path, space: Space, most: int) -> None:
    """Runs trials until the search in a folder has so many; then writes what it came to.

    Raises:
        UserError: if the folder cannot be used, or no trial has a result.
        Stopped: if a signal ends it; nothing is lost.
    """
    from context_agg.runs.search import Search
    from context_agg.runs.search_results import trial_line, write_results

    with one_message():
        search = Search(folder, space)
    while True:
        signals.at_once(_kept)
        with search.trial(most) as trial:
            if trial is None:
                break
            try:
                _run(search, trial)
            except signals.Stopped as stopped:
                search.give_back(trial)
                raise signals.Stopped(stopped.by, _kept()) from None
            print(trial_line(search, search.study.get_trials()[trial.number]))
    best = search.best()
    if best is None:
        raise UserError(f"no trial in {folder} has a result")
    names = write_results(search, best)
    print(f"best       {trial_line(search, best)}")
    print(f"written to {folder}: {', '.join(names)}")
    command = ["python", "-m", "context_agg.train", "--config-dir", str(folder), "experiment=best"]
    print(f"train it   {shlex.join(command)}")


def check_space(file: Path, overrides: Sequence[str]) -> Space:
    """Reads what to search over, and checks every listed value and both ends of every range.

    Raises:
        SystemExit, UserError: for a mistake, with one message.
    """
    with one_message():
        space = read_space(file, overrides)
    configs = check_command_line(["-m", *space.corners()])
    if sweeps := file_params(configs[0].hydra):
        raise UserError(f"a search takes no experiment that is a sweep itself ({sweeps[0]})")
    quiet()
    from context_agg.runs.build import check_parts

    with one_message():
        check_parts(configs)
    return space


def _run(search: "Search", trial: "optuna.Trial") -> None:
    """Trains the run of a trial, and tells the study what it came to."""
    import optuna
    from omegaconf import open_dict

    from context_agg.callbacks.prune import Prune
    from context_agg.cli.compose import compose_config
    from context_agg.runs.curves import read_curves
    from context_agg.runs.directory import LOG, forget
    from context_agg.runs.sweep import RunLog
    from context_agg.train import train

    search.suggest(trial)
    cfg = compose_config(*search.lines(trial), hydra=True)
    with open_dict(cfg):
        model = cfg.pop("hydra").runtime.choices["model"]
    run_dir, monitor = search.directory(trial), search.space.monitor
    prune = Prune(trial, monitor, search.reported(trial))
    try:
        with RunLog(run_dir / LOG) as log, redirect_stdout(log):
            train(cfg, run_dir, model, callbacks=[prune])
    except optuna.TrialPruned:
        search.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except UserError as error:
        if isinstance(error.__cause__, OSError):  # a full disk, for instance: not the trial's fault
            raise
        search.fail(trial, str(error))
        forget(run_dir, log=True)
    else:
        search.tell(trial, read_curves(run_dir)[monitor])


def _kept() -> str:
    command = shlex.join(["python", "-m", "context_agg.tune", *sys.argv[1:]])
    return f"every trial is kept; go on with: {command}"


@exit_on_mistake()
def main() -> None:
    """Runs the command."""
    parser = command_parser("tune", __doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="what to search over")
    parser.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="settings of every trial")
    parser.add_argument("--trials", type=int, default=20, help="how many the search has (20)")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where it goes (outputs/tune/FILE)")
    given = parser.parse_intermixed_args()
    if given.trials < 1:
        raise ValueError(f"--trials {given.trials} must be 1 or more")
    folder = given.out or Path("outputs", "tune", given.file.stem)
    if importlib.util.find_spec("optuna") is None:
        raise ValueError("tune needs Optuna: pip install 'optuna>=4' (in a clone, '.[tune]')")
    streams.prepare()
    signals.install()
    with signals.exit_when_stopped():
        signals.at_once(lambda: signals.NOTHING)
        space = check_space(given.file, given.overrides)
        check_writable("--out", str(folder))
        tune(folder, space, given.trials)


if __name__ == "__main__":
    main()
