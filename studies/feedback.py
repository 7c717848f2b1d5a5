"""What makes a network with a broken backward pass learn: controls, and two proposals."""

import statistics

from matplotlib.figure import Figure

from context_agg.analysis.colours import COLORS
from context_agg.runs.intervals import Estimate, estimate
from studies.alignment import LAYERS, mean_cosine, recorded_cosines
from studies.plots import mark_missing
from studies.post import accuracies_table, draw_accuracies
from studies.study import Study, SweepRun
from studies.tables import Runs, named_runs, plain_table

RULE_WORDS = {
    "manual": "right gradients",
    "broken": "broken",
    "feedback_alignment": "feedback alignment",
    "sign_symmetric": "sign-symmetric",
}
CONTROLS = {
    "six_frozen": "layers 1 to 6 frozen",
    "six_random": "layers 1 to 6 random",
    "all_frozen": "all layers frozen",
    "all_random": "all layers random",
}
LONGER = {"broken_longer": "broken", "six_frozen_longer": CONTROLS["six_frozen"]}
BASELINE = CONTROLS["six_frozen"]
EPOCH = 600  # steps
FOLLOWED = {  # by title, the runs of a panel
    "broken": "rules/backprop-broken/",
    "feedback alignment": "rules/backprop-feedback_alignment/",
    "sign-symmetric": "rules/backprop-sign_symmetric/",
    "broken, 150 epochs": "broken_longer/",
}


def words(run: SweepRun) -> str | None:
    """A run of 30 epochs in words."""
    return RULE_WORDS[run.value("backprop")] if run.part == "rules" else CONTROLS.get(run.part)


def named() -> dict[str, Runs]:
    """The recorded runs of 30 epochs, the rules before the controls."""
    runs = named_runs(STUDY, words)
    return {name: runs[name] for name in (*RULE_WORDS.values(), *CONTROLS.values())}


def feedback_table() -> str:
    """All rules and controls, against layers 1 to 6 that do not learn."""
    return accuracies_table(named(), BASELINE)


def longer_table() -> str:
    """The same comparison after 150 epochs."""
    return accuracies_table(named_runs(STUDY, lambda run: LONGER.get(run.part)), BASELINE)


def plot_feedback() -> Figure:
    """Test accuracy after 30 epochs, a dot per seed, and the paired differences."""
    return draw_accuracies(named(), BASELINE, "30 epochs", f"difference from {BASELINE}")


def changes() -> dict[str, tuple[Estimate, Estimate, Estimate] | None]:
    """By panel, the mean cosine of layers 1 to 6 at first, at last, and the change of each seed."""
    recorded = recorded_cosines("feedback")
    result: dict[str, tuple[Estimate, Estimate, Estimate] | None] = {}
    for title, prefix in FOLLOWED.items():
        pairs = []
        for run, steps in recorded.items():
            if run.startswith(prefix):
                means = [mean_cosine(steps[step]) for step in sorted(steps)]
                there = [mean for mean in means if mean is not None]
                if there:  # else the network was dead from the start
                    pairs.append((there[0], there[-1]))
        if not pairs:
            result[title] = None
            continue
        first, last = zip(*pairs, strict=True)
        change = [b - a for a, b in pairs]
        result[title] = estimate(first), estimate(last), estimate(change)
    return result


def alignment_table() -> str:
    """Whether the cosines of layers 1 to 6 rise while training."""
    table = []
    for title, estimates in changes().items():
        first, last, change = (
            [f"{x.mean:.3f} ± {x.half:.3f}" for x in estimates] if estimates else ["missing"] * 3
        )
        seeds = str(estimates[0].number) if estimates else "0"
        cells = {"rule": title, "seeds": seeds, "at the start": first, "last measured": last}
        table.append({**cells, "change": change})
    return plain_table(table)


def plot_alignment() -> Figure:
    """The cosine of each of layers 1 to 6 by epoch, the mean over the seeds with a gradient."""
    recorded = recorded_cosines("feedback")
    figure = Figure(figsize=(9, 5), layout="constrained")
    panels = figure.subplots(2, 2, sharey=True)
    for axes, (title, prefix) in zip(panels.flat, FOLLOWED.items(), strict=True):
        runs = [steps for run, steps in recorded.items() if run.startswith(prefix)]
        for number, layer in enumerate(LAYERS):
            points = []
            for step in sorted({step for steps in runs for step in steps}):
                here = [s[step][layer] for s in runs if step in s and layer in s[step]]
                if here:
                    points.append((step / EPOCH, statistics.fmean(here)))
            if points:
                color = COLORS[number % len(COLORS)]
                axes.plot(*zip(*points, strict=True), color=color, label=f"layer {number + 1}")
        if not runs:
            mark_missing(axes)
        axes.axhline(0, color="0.5", linewidth=0.8)
        axes.set(title=title, ylim=(-1.05, 1.05))
        axes.grid(alpha=0.3)
    for axes in panels[1]:
        axes.set_xlabel("epoch")
    for axes in panels[:, 0]:
        axes.set_ylabel("cosine")
    if recorded:
        handles, labels = next(a for a in panels.flat if a.lines[1:]).get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return figure


STUDY = Study(
    "feedback",
    figures={"feedback": plot_feedback, "alignment": plot_alignment},
    tables={
        "feedback": feedback_table,
        "feedback_longer": longer_table,
        "feedback_alignment": alignment_table,
    },
)
