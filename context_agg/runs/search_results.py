"""What a search leaves: a table of its trials, figures, and the best configuration as a file."""

import warnings
from io import BytesIO
from typing import Any

import matplotlib
from matplotlib import pyplot
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import matplotlib as plots

from context_agg.cli.experiment import experiment
from context_agg.runs import atomic
from context_agg.runs.search import ERROR, Search
from context_agg.runs.table import write_csv

BEST = "experiment/best.yaml"  # for --config-dir
TRIALS = "trials.csv"
HISTORY, EPOCHS, VALUES, IMPORTANCES = (
    f"{name}.png" for name in ("history", "epochs", "values", "importances")
)
PLOTS = {
    HISTORY: plots.plot_optimization_history,
    EPOCHS: plots.plot_intermediate_values,
    VALUES: plots.plot_slice,
    IMPORTANCES: plots.plot_param_importances,
}


def write_results(search: Search, best: FrozenTrial) -> list[str]:
    """Writes everything into the folder of the search; returns the names of the files.

    Args:
        search: a search with a complete trial.
        best: its best trial.
    """
    trials = search.study.get_trials()
    title = f"{search.directory(best).name} of {len(trials)}: {search.space.monitor} {best.value}"
    (search.folder / BEST).parent.mkdir(exist_ok=True)
    atomic.write(search.folder / BEST, experiment(title, search.lines(best)).encode())
    rows = [
        {
            "trial": search.directory(trial).name,
            "state": trial.state.name.lower(),
            search.space.monitor: trial.value,
            "epochs": len(trial.intermediate_values),
            **trial.params,
            "error": trial.user_attrs.get(ERROR),
        }
        for trial in trials
    ]
    write_csv(search.folder / TRIALS, rows)
    names = [BEST, TRIALS]
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    for name in PLOTS:
        if name != IMPORTANCES or len({trial.value for trial in complete}) > 1:
            atomic.write(search.folder / name, _picture(name, search))
            names.append(name)
    return names


def _picture(name: str, search: Search) -> bytes:
    """One of Optuna's figures."""
    matplotlib.use("Agg")
    picture = BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context({"figure.figsize": (9, 5)}):
        warnings.simplefilter("ignore")  # of being experimental, and of a key with a single value
        if name in (HISTORY, VALUES):
            PLOTS[name](search.study, target_name=search.space.monitor)
        else:
            axes = PLOTS[name](search.study)
            if name == EPOCHS:
                axes.set(title="", xlabel="epoch, from 0", ylabel=search.space.monitor)
        pyplot.savefig(picture, dpi=100, bbox_inches="tight")
        pyplot.close("all")
    return picture.getvalue()


def trial_line(search: Search, trial: FrozenTrial) -> str:
    """What a trial came to, and what it tried, in a line."""
    tried = " ".join(f"{key}={_short(value)}" for key, value in trial.params.items())
    state = trial.state
    if state is TrialState.FAIL:
        result = f"failed: {trial.user_attrs.get(ERROR)}"
    else:
        value = "no value" if trial.value is None else f"{trial.value:.4f}"
        result = f"{search.space.monitor} {value}"
        if state is TrialState.PRUNED:
            result += f" after epoch {len(trial.intermediate_values)}, given up"
    return f"{search.directory(trial).name}  {result}; {tried}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
