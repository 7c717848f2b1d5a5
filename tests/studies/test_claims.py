"""Tables and figures of the studies with controls, from rows whose answers are known."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from studies import additions, collapse, feedback, results, starts
from studies.alignment import LAYERS
from studies.study import Study, SweepRun


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "RESULTS", tmp_path)


def record(study: Study, curves: Callable[[SweepRun], Sequence[float] | None]) -> None:
    """Records the runs that have a held-out curve."""
    for run in study.wanted():
        values = curves(run)
        if values is None:
            continue
        final = {"final/accuracy": values[-1], "test/accuracy": max(values)}
        scores = {"run": run.name, "seconds": 1, **final, "test/iou": max(values)}
        epochs = [
            {"run": run.name, "epoch": epoch, "val/accuracy": value, "val/iou": value}
            for epoch, value in enumerate(values, start=1)
        ]
        results.add_rows(study.name, [scores])
        results.add_rows(f"{study.name}_curves", epochs)


def lines(table: str) -> dict[str, str]:
    """The rows of a Markdown table by their first cell."""
    cells = [line.strip("| ").split(" | ", 1) for line in table.splitlines()[2:]]
    return {name: rest for name, rest in cells}


RATES = {"0.001": 0.2, "0.003": 0.5, "0.01": 0.4}


def of_seed(run: SweepRun) -> float:
    return 0.01 * (run.seed % 2)


def test_fresh_seeds_are_wanted_at_the_best_rate_once_all_rates_are_known() -> None:
    def curve(run: SweepRun) -> list[float] | None:
        if run.part != "rates" or (run.value("model.init"), run.seed) == ("normal", 2):
            return None
        best = RATES[run.value("optimizer.lr")] + of_seed(run)
        return [0.1, best, 0.0]  # the best epoch counts

    record(starts.STUDY, curve)
    wanted = [run for run in starts.STUDY.wanted() if run.part in ("compared", "longer", "plain")]
    assert {run.value("optimizer.lr") for run in wanted} == {"0.003"}
    compared = [run for run in wanted if run.part == "compared"]
    assert {run.value("model.init") for run in compared} == {"identity", "xavier"}
    assert {run.seed for run in compared} == set(range(3, 13))
    assert len(compared) == 2 * 2 * 10
    assert len([run for run in wanted if run.part == "longer"]) == 2 * 5
    table = lines(starts.rate_table())
    assert table["xavier, lifted"] == "0.203 | **0.503** | 0.403"
    assert table["normal"] == "missing | missing | missing"


def test_starts_are_compared_seed_by_seed() -> None:
    record(starts.STUDY, lambda run: [RATES[run.value("optimizer.lr")]] if rates(run) else None)
    gain = {"identity": 0.2, "xavier": 0, "normal": 0}

    def curve(run: SweepRun) -> list[float] | None:
        if run.part == "compared":
            return [0.3 + gain[run.value("model.init")] + 0.03 * run.seed]
        if run.part in ("alone", "joint"):
            return [0.5 + 0.1 * (run.part == "joint") + 0.01 * run.seed]
        return None

    record(starts.STUDY, curve)
    table = lines(starts.start_table())
    assert table["identity"].endswith("| +0.2000 ± 0.0000")  # though the means scatter
    assert table["xavier"].startswith("10 | 0.5250 ± ")
    assert table["xavier"].endswith(" | -")
    assert table["plain, identity"] == "missing | - | -"
    joint = lines(starts.joint_table())
    assert joint["six more of both, lr 0.001"].endswith("+0.1000 ± 0.0000")
    assert joint["six more of the module, lr 0.001"].endswith(" | -")


def rates(run: SweepRun) -> bool:
    return run.part in ("rates", "plain_rates")


def test_the_change_of_a_cosine_is_that_of_each_run() -> None:
    for seed, start in enumerate((0.1, -0.3)):
        run = f"rules/backprop-broken/seed-{seed}"
        cosines = [dict.fromkeys(LAYERS, start + rise) for rise in (0, 0.9, 0.2)]
        cosines[2] = {LAYERS[0]: start + 0.2, LAYERS[1]: float("nan")}
        rows = [{"run": run, "step": 1200 * n, **c} for n, c in enumerate(cosines)]
        results.add_rows("feedback_alignment", rows)
    estimates = feedback.changes()["broken"]
    assert estimates is not None
    first, last, change = estimates
    assert first.mean == pytest.approx(-0.1)
    assert last.mean == pytest.approx(0.1)  # a layer without a gradient does not count
    assert (change.mean, change.half) == pytest.approx((0.2, 0))
    assert lines(feedback.alignment_table())["sign-symmetric"] == "0 | missing | missing | missing"


def test_a_network_that_gives_one_answer_counts_as_dead() -> None:
    def curve(run: SweepRun) -> list[float] | None:
        if run.part == "six_frozen":
            return [0.5, 0.4]
        broken = run.part == "rules" and run.value("backprop") == "broken"
        return [0.8, 0.11 if run.seed < 3 else 0.7] if broken else None

    record(feedback.STUDY, curve)
    table = lines(feedback.feedback_table())
    assert table["broken"].startswith("3 of 10 | 0.5230 ± ")
    assert table["broken"].endswith("| 0.8000 ± 0.0000 | +0.3000 ± 0.0000")
    assert table["layers 1 to 6 frozen"] == "0 of 10 | 0.4000 ± 0.0000 | - | 0.5000 ± 0.0000 | -"
    assert table["sign-symmetric"] == "missing | - | - | - | -"


def test_a_run_has_collapsed_if_it_ends_far_below_its_best() -> None:
    def curve(run: SweepRun) -> list[float] | None:
        if run.part != "rules":
            return None
        falls = run.value("backprop") == "broken" and run.seed < 3
        recovers = run.value("backprop") == "broken" and run.seed == 3
        return [0.5, 0.9, 0.6 if recovers else 0.9, 0.1 if falls else 0.75]

    record(collapse.STUDY, curve)
    table = lines(collapse.collapse_table())
    assert table["broken"].startswith("4 of 10 | 3 of 10 | 0.5550 ± ")
    assert table["right gradients"].startswith("0 of 10 | 0 of 10 | 0.7500 ± 0.0000 | +0.1950 ± ")
    assert table["broken, lr 0.0003"] == "missing | missing | - | - | -"


def test_cosines_are_averaged_over_each_half_of_a_run() -> None:
    record(collapse.STUDY, lambda run: [0.9, 0.1 if run.seed < 2 else 0.8])
    rows = [
        {"run": run.name, "step": 40 * epoch, LAYERS[0]: cosine + 0.1, LAYERS[5]: cosine - 0.1}
        for run in collapse.STUDY.runs()
        for epoch, cosine in enumerate((0.9, 0.7, 0.2, 0.1 * (run.seed < 2)))
    ]
    results.add_rows("collapse_alignment", rows)
    table = lines(collapse.cosines_table())
    assert table["broken, the seeds that collapse"] == "2 | 0.80 ± 0.00 | 0.15 ± 0.00"
    assert table["broken, the others"] == "8 | 0.80 ± 0.00 | 0.10 ± 0.00"
    assert table["broken, lr 0.0003"] == "10 | 0.80 ± 0.00 | 0.11 ± 0.02"  # of all its seeds
    assert "right gradients" not in table


def test_cosines_of_one_run_are_an_example_and_a_dead_network_has_none() -> None:
    record(collapse.STUDY, lambda run: [0.9] * 4 if (run.part, run.seed) == ("rules", 0) else None)
    rows = [
        {"run": "rules/backprop-broken/seed-0", "step": step, LAYERS[0]: cosine}
        for step, cosine in enumerate((0.5, 0.7, "nan", "nan"))
    ]
    results.add_rows("collapse_alignment", rows)
    table = lines(collapse.cosines_table())
    assert table["broken, the others"] == "1 | 0.60 (example) | missing"
    assert table["broken, the seeds that collapse"] == "0 | missing | missing"
    assert table["broken, clipped to norm 1"] == "0 | missing | missing"


def test_an_addition_is_compared_with_the_same_gradients() -> None:
    def curve(run: SweepRun) -> list[float]:
        if run.part == "noise":
            return [0.4]
        shortcuts = run.value("model.shortcut.scale") == "1500"
        return [(0.6 if run.value("backprop") == "manual" else 0.5) + 0.1 * shortcuts]

    record(additions.STUDY, curve)
    table = lines(additions.additions_table())
    assert table["right gradients, noise 0.3"].endswith("| -0.2000 ± 0.0000")
    assert table["broken, shortcuts 1500"].endswith("| +0.1000 ± 0.0000")
    assert table["broken"].endswith("0.5000 ± 0.0000 | -")
    assert list(table)[:2] == ["right gradients", "right gradients, noise 0.01"]


@pytest.mark.parametrize("study", [starts.STUDY, feedback.STUDY, collapse.STUDY, additions.STUDY])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_figures_say_what_is_missing(study: Study, is_recorded: bool) -> None:
    if is_recorded:
        for _ in range(2):  # what is chosen by the first rows comes with the second
            record(study, lambda run: [0.1, 0.9, 0.2])
        rows = [
            {"run": run.name, "step": step, LAYERS[0]: 0.5}
            for run in study.runs()
            for step in (0, 40)
        ]
        results.add_rows(f"{study.name}_alignment", rows)
    for draw in study.figures.values():
        figure = draw()
        assert isinstance(figure, Figure)
        figure.draw_without_rendering()
        shown = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert ("missing" in shown) == (not is_recorded or study is collapse.STUDY)
