"""Gradient shortcuts and gradient noise in the post's network: do they help?"""

from context_agg.runs.table import as_markdown
from studies.study import Study, SweepRun
from studies.tables import compared, named_runs

RULES = {"manual": "right gradients", "broken": "broken"}


def words(run: SweepRun) -> str:
    """A run in words: its gradients, and what is added to them."""
    if run.part == "noise":
        return f"{RULES['manual']}, noise {run.value('callbacks.gradient_noise.eta')}"
    rule, scale = RULES[run.value("backprop")], run.value("model.shortcut.scale")
    return rule if scale == "0" else f"{rule}, shortcuts {scale}"


def additions_table() -> str:
    """Test accuracy with each addition, against the same gradients without."""
    runs = named_runs(STUDY, words)
    order = sorted(runs, key=lambda name: name.partition(",")[0] == "broken")
    baselines = {name: name.partition(",")[0] for name in runs if "," in name}
    rows = compared({name: runs[name] for name in order}, baselines)
    return as_markdown(rows, ("final/accuracy",))


STUDY = Study("additions", tables={"additions": additions_table})
