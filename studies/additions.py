"""Gradient shortcuts and gradient noise in the post's network: do they help?"""

from matplotlib.figure import Figure

from studies.post import accuracies_table, draw_accuracies
from studies.study import Study, SweepRun
from studies.tables import Runs, named_runs

RULES = {"manual": "right gradients", "broken": "broken"}


def words(run: SweepRun) -> str:
    """A run in words: its gradients, and what is added to them."""
    if run.part == "noise":
        return f"{RULES['manual']}, noise {run.value('callbacks.gradient_noise.eta')}"
    rule, scale = RULES[run.value("backprop")], run.value("model.shortcut.scale")
    return rule if scale == "0" else f"{rule}, shortcuts {scale}"


def named() -> tuple[dict[str, Runs], dict[str, str]]:
    """The recorded runs, right gradients first, and what each addition is compared with."""
    runs = named_runs(STUDY, words)
    order = sorted(runs, key=lambda name: (name.startswith("broken"), "," in name))
    return {name: runs[name] for name in order}, {
        name: name.partition(",")[0] for name in order if "," in name
    }


def additions_table() -> str:
    """The networks with each addition, against the same gradients without."""
    return accuracies_table(*named())


def plot_additions() -> Figure:
    """Test accuracy after five epochs, a dot per seed, and what each addition changes."""
    return draw_accuracies(*named(), "5 epochs", "difference from no addition")


STUDY = Study(
    "additions",
    figures={"additions": plot_additions},
    tables={"additions": additions_table},
)
