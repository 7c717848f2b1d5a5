"""auto, manual and broken on scikit-learn's digits: the comparison of `make sweep`."""

from context_agg.runs.curves import plot_bands
from studies.results import read_curves
from studies.study import Study
from studies.tables import in_words, sweep_table

SHORT = ("test/accuracy", "final/accuracy")

STUDY = Study(
    "digits",
    figures={
        "digits": lambda: plot_bands(
            {in_words(name): runs for name, runs in read_curves("digits", "backprop").items()}
        )
    },
    tables={
        "digits": lambda: sweep_table("digits", {"backprop": ""}),
        "digits_short": lambda: sweep_table("digits", {"backprop": ""}, SHORT),
    },
)
