"""A study runs what has no row in its CSV, in the correct order, and records it once."""

import csv
import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from context_agg.cli.compose import CONF
from studies import results, study
from studies.__main__ import STUDIES, TABLES, main
from studies.study import Study, SweepRun
from studies.tables import plain_table, sweep_table, variant_in_words
from tests.command import call
from tests.fake_mnist import write_mnist
from tests.fake_pairs import write_camvid

BATCH = [f"trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")]
SCENES = [f"data.{part}_scenes=16" for part in ("train", "validation", "test")]
ON_SCENES = ("scenes", "starts")
STAGED = (*ON_SCENES, "camvid")
RECIPES = ("paper",)  # a folder of recipes, not of a study's sweeps
PARTS = sorted(
    f"{file.parent.name}/{file.stem}"
    for file in CONF.glob("experiment/*/*.yaml")
    if file.parent.name not in RECIPES
)


def first_run(part: str) -> SweepRun:
    name, _, own = part.partition("/")
    return next(run for run in Study(name).runs() if run.part == own)


def train_a_batch(run: SweepRun) -> None:
    """Trains a run in this process for one epoch of one batch, after the run it starts from."""
    start = run.starts_from()
    if start is not None and not (start / "metrics.json").is_file():
        train_a_batch(next(other for other in Study(run.study).runs() if other.directory == start))
    few = SCENES if run.study in ON_SCENES else []
    options = ["hydra/launcher=basic", "trainer.max_epochs=1", *BATCH, *few]
    assert call("train", f"experiment={run.study}/{run.part}", *run.lines.values(), *options) == 0
    assert (run.directory / "metrics.json").is_file()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small data in the layouts of MNIST and CamVid."""
    write_mnist(tmp_path / "DIR")
    write_camvid(tmp_path / "DIR")
    monkeypatch.setenv("CONTEXT_AGG_DATA", str(tmp_path / "DIR"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("part", [part for part in PARTS if part.partition("/")[0] not in STAGED])
def test_every_sweep_trains_where_its_study_looks_for_it(part: str) -> None:
    train_a_batch(first_run(part))


@pytest.mark.slow
@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("study", STAGED)
def test_every_stage_trains_after_the_one_it_starts_from(study: str) -> None:
    for part in PARTS:
        if part.startswith(f"{study}/"):
            train_a_batch(first_run(part))


def test_every_sweep_belongs_to_a_study_and_every_number_to_a_sweep() -> None:
    assert {part.partition("/")[0] for part in PARTS} <= STUDIES.keys()
    for name, one in STUDIES.items():
        recorded = [row["run"] for row in results.read(name)]
        assert len(recorded) == len(set(recorded))
        assert set(recorded) <= {run.name for run in one.runs()}
        runs = {run.name for run in one.runs()}
        assert all(set(names) <= runs for names in one.models.values())
        curves = {row["run"] for row in results.read(f"{name}_curves")}
        assert curves == set(recorded)


@pytest.mark.parametrize("part", PARTS)
def test_what_a_sweep_starts_from_is_a_run_of_its_study(part: str) -> None:
    run = first_run(part)
    start = run.starts_from()
    assert start is None or start in {other.directory for other in Study(run.study).runs()}


# A study of three parts, each starting from the one before, in its own folder.

SWEEPS = {
    "first": ("null", {"seed": "0,1"}),
    "second": (
        "outputs/chain/first/seed-${seed}",
        {"model.init": "identity,normal", "seed": "0,1"},
    ),
    "third": ("outputs/chain/second/model.init-normal/seed-${seed}", {"seed": "1"}),
}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Records the trainings that the study "chain" calls; each leaves finished runs."""
    folder = tmp_path / "conf"
    (tmp_path / "docs" / "results").mkdir(parents=True)
    chain = folder / "experiment" / "chain"
    chain.mkdir(parents=True)
    for part, (start, params) in SWEEPS.items():
        text = {"start_from": start, "hydra": {"sweeper": {"params": params}}}
        (chain / f"{part}.yaml").write_text(json.dumps(text).replace('"null"', "null"))
    monkeypatch.setattr(study, "CONF", folder)
    monkeypatch.setattr(study, "ROOT", tmp_path)
    monkeypatch.setattr(results, "RESULTS", tmp_path / "docs" / "results")
    monkeypatch.setattr(
        SweepRun,
        "finished",
        property(lambda run: (tmp_path / run.directory / "metrics.json").is_file()),
    )
    monkeypatch.setattr(
        SweepRun,
        "starts_from",
        lambda run: (
            None
            if (start := SWEEPS[run.part][0]) == "null"
            else Path(start.replace("${seed}", str(run.seed)))
        ),
    )
    curve = {"train/loss": [0.5, 0.25], "val/accuracy": [0.1, 0.2]}
    monkeypatch.setattr(study, "read_curves", lambda directory: curve)
    monkeypatch.setattr(study, "POLL", 0)
    called: list[list[str]] = []

    def train(command: list[str], **options: Any) -> "Sweep":
        assert command[1:3] == ["-m", "context_agg.train"]
        assert command[-1] == "hydra.launcher.n_jobs=2"
        assert options["env"]["OMP_NUM_THREADS"] == "1"
        called.append(command[3:-1])
        return Sweep(
            [
                tmp_path / run.directory / "metrics.json"
                for run in Study("chain").runs()
                if command[3] == f"experiment=chain/{run.part}" and takes(run, command[4:-1])
            ]
        )

    monkeypatch.setattr(subprocess, "Popen", train)
    return called


class Sweep:
    """Stands for the process of a sweep: between two looks at it, it finishes a run."""

    at_a_look: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        self.told: list[int] = []

    def poll(self) -> int | None:
        if not self.files or self.told:
            return 0
        self.at_a_look()
        file = self.files.pop(0)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"seconds": 10.0, "test/accuracy": 0.5}))
        return None

    def send_signal(self, number: int) -> None:
        self.told.append(number)


def takes(run: SweepRun, lines: list[str]) -> bool:
    """Whether a call with these overrides trains the run."""
    given = {line.partition("=")[0]: line.partition("=")[2].split(",") for line in lines}
    own = {key: line.partition("=")[2] for key, line in run.lines.items()}
    return all(own[key] in values for key, values in given.items())


def rows(name: str) -> list[dict[str, str]]:
    with (results.RESULTS / f"{name}.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_all_is_run_stage_by_stage_and_recorded_once(calls: list[list[str]]) -> None:
    chain = Study("chain")
    assert [run.name for run in chain.missing()] == [run.name for run in chain.runs()]
    assert chain.run(jobs=2) == []
    assert calls == [[f"experiment=chain/{part}"] for part in SWEEPS]
    recorded = rows("chain")
    assert {row["run"] for row in recorded} == {run.name for run in chain.runs()}
    assert recorded[0] == {"run": "first/seed-0", "seconds": "10.0", "test/accuracy": "0.5"}
    assert chain.seconds() == 70
    epochs = [row for row in rows("chain_curves") if row["run"] == "third/seed-1"]
    assert [row["val/accuracy"] for row in epochs] == ["0.1", "0.2"]
    assert chain.run(jobs=2) == []
    assert len(calls) == 3
    assert rows("chain") == recorded


def test_a_missing_row_is_run_again_with_what_it_starts_from_where_outputs_are_gone(
    calls: list[list[str]], tmp_path: Path
) -> None:
    chain = Study("chain")
    names = [run.name for run in chain.runs() if run.name != "third/seed-1"]
    kept = [{"run": name, "seconds": "1", "test/accuracy": "0.9"} for name in names]
    results.add_rows("chain", kept)
    assert chain.run(jobs=2) == []
    assert calls == [
        ["experiment=chain/first", "seed=1"],
        ["experiment=chain/second", "model.init=normal", "seed=1"],
        ["experiment=chain/third"],
    ]
    assert rows("chain")[:-1] == kept  # earlier rows are kept
    assert rows("chain")[-1]["run"] == "third/seed-1"


def test_failed_runs_are_named_and_stay_missing(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *arguments, **options: Sweep([]))
    assert len(Study("chain").run()) == 7
    assert not (results.RESULTS / "chain.csv").exists()


def test_a_run_is_recorded_as_soon_as_it_has_finished_and_in_the_order_of_all_runs(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    results.add_rows("chain", [{"run": "second/model.init-normal/seed-0", "seconds": "1"}])
    recorded: list[list[str]] = []
    look = staticmethod(lambda: recorded.append([row["run"] for row in results.read("chain")]))
    monkeypatch.setattr(Sweep, "at_a_look", look)
    assert Study("chain").run(jobs=2) == []
    assert [len(names) for names in recorded] == [1, 2, 3, 4, 5, 6]
    assert recorded[2][:2] == ["first/seed-0", "first/seed-1"]
    assert [row["run"] for row in rows("chain")] == [run.name for run in Study("chain").runs()]


def test_a_study_whose_time_is_up_ends_its_sweep_and_goes_on_later(
    calls: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, passed = Study("chain"), iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(passed))
    assert chain.run(jobs=2, until=2) == []  # nothing has failed
    assert calls == [["experiment=chain/first"]]
    assert [row["run"] for row in rows("chain")] == ["first/seed-0"]  # its sweep was told to end
    assert chain.run(jobs=2) == []
    assert len(rows("chain")) == 7
    assert len(rows("chain_curves")) == 14


def test_a_part_of_a_study_brings_along_what_it_starts_from(calls: list[list[str]]) -> None:
    assert Study("chain").run("second", jobs=2) == []
    assert calls == [["experiment=chain/first"], ["experiment=chain/second"]]
    assert len(rows("chain")) == 6


def test_what_is_chosen_by_earlier_rows_runs_after_them(calls: list[list[str]]) -> None:
    def choose(runs: Iterable[SweepRun]) -> list[SweepRun]:
        recorded = {row["run"] for row in results.read("chain")}
        return [
            run
            for run in runs
            if run.part == "first" or ("first/seed-1" in recorded and "identity" in run.name)
        ]

    chain = Study("chain", choose=choose)
    assert [run.name for run in chain.missing()] == ["first/seed-0", "first/seed-1"]
    assert chain.run(jobs=2) == []
    assert calls == [
        ["experiment=chain/first"],
        ["experiment=chain/second", "model.init=identity", "seed=0,1"],
    ]


def test_seeds_that_lack_every_variant_run_together_and_first(
    calls: list[list[str]], tmp_path: Path
) -> None:
    names = ["first/seed-0", "first/seed-1", "second/model.init-normal/seed-0", "third/seed-1"]
    results.add_rows("chain", [{"run": name, "seconds": "1"} for name in names])
    for name in names:
        file = tmp_path / "outputs" / "chain" / name / "metrics.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
    assert Study("chain").run(jobs=2) == []
    assert calls == [
        ["experiment=chain/second", "seed=1"],
        ["experiment=chain/second", "model.init=identity", "seed=0"],
    ]


def test_the_cosines_of_a_run_become_a_row_for_every_step(tmp_path: Path) -> None:
    lines = ["step,layer,cosine,norm_ratio"]
    lines += [f"{step},{layer},0.{step}2345,1" for step in (0, 4) for layer in ("a", "head.1")]
    (tmp_path / "gradients.csv").write_text("\n".join(lines))
    assert study.alignment_rows("x/seed-0", tmp_path / "gradients.csv") == [
        {"run": "x/seed-0", "step": "0", "a": "0.0234", "head.1": "0.0234"},
        {"run": "x/seed-0", "step": "4", "a": "0.4234", "head.1": "0.4234"},
    ]


@pytest.mark.parametrize(("accuracies", "kept"), [((0.2, 0.3), 1), ((0.4, 0.3), 0)])
def test_the_model_that_is_kept_is_the_best_by_held_out_accuracy(
    accuracies: tuple[float, float],
    kept: int,
    calls: list[list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def curves(directory: Path) -> Mapping[str, list[float]]:
        return {"val/accuracy": [accuracies[int(directory.name[-1])], 0.1]}

    exported: list[tuple[Path, Path]] = []
    monkeypatch.setattr(study, "read_curves", curves)
    monkeypatch.setattr(study, "export", lambda run, model: exported.append((run, model)))
    Study("chain", models={"best": ("first/seed-0", "first/seed-1")}).run("first", jobs=2)
    source = tmp_path / "outputs" / "chain" / "first" / f"seed-{kept}"
    assert exported[-1] == (source, tmp_path / "models" / "best")


def test_a_model_is_exported_anew_when_another_seed_is_recorded(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []  # recorded at each export, which the card counts
    monkeypatch.setattr(study, "read_curves", lambda directory: {"val/accuracy": [0.5]})
    monkeypatch.setattr(study, "export", lambda run, model: seeds.append(len(rows("chain"))))
    Study("chain", models={"best": ("first/seed-0",)}).run("first", jobs=2)
    assert seeds == [1, 2]


def test_a_run_of_other_settings_is_not_exported_for_another_seed(
    calls: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.add_rows("chain", [{"run": "first/seed-0", "seconds": "1"}])
    results.add_rows("chain_curves", [{"run": "first/seed-0", "epoch": 1, "val/accuracy": 0.5}])

    def finished(run: SweepRun) -> bool:
        if run.name == "first/seed-0":
            raise FileExistsError("other settings")
        return (tmp_path / run.directory / "metrics.json").is_file()

    monkeypatch.setattr(SweepRun, "finished", property(finished))
    exported: list[Path] = []
    monkeypatch.setattr(study, "export", lambda run, model: exported.append(run))
    assert Study("chain", models={"best": ("first/seed-0",)}).run("first", jobs=2) == []
    assert [row["run"] for row in rows("chain")] == ["first/seed-0", "first/seed-1"]
    assert exported == []


def test_a_measurement_is_made_once_and_its_time_is_noted(calls: list[list[str]]) -> None:
    made: list[int] = []

    def measure() -> list[list[str]]:
        made.append(1)
        return [["what", "value"], ["x", "1"]]

    measured = Study("chain", measurements={"extra": measure}, needs=("first",))
    measured.run(jobs=2)
    measured.run(jobs=2)
    assert made == [1]
    assert rows("extra") == [{"what": "x", "value": "1"}]
    (noted,) = rows("seconds")
    assert noted["measurement"] == "extra"
    assert 0 <= float(noted["seconds"]) < 5


@pytest.mark.parametrize(
    ("variant", "words", "expected"),
    [
        ("backprop/backprop-auto_model.init-normal", "", "auto, normal"),
        ("basic/model.init-identity", "basic", "basic, identity"),
        ("front_end", "front end", "front end"),
        ("auto", "", "auto"),
        ("x/front_end.lift-2", "", "lift 2"),
    ],
)
def test_variants_in_words(variant: str, words: str, expected: str) -> None:
    assert variant_in_words(variant, words) == expected


def test_the_command_lists_the_studies_and_refuses_an_unknown_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([])
    listed = capsys.readouterr().out
    for name in STUDIES:
        assert f"| {name} |" in listed
    assert listed == TABLES["studies"]()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digit"], "there is no study 'digit'; choose one of all, digits"),
        (["digits/backprops"], "there is no digits/backprops: its parts are backprop"),
        (["gradients/x"], "there is no gradients/x: it has no parts"),
        (["all/x"], "there is no all/x: it has no parts"),
        (["digits", "--jobs", "0"], "--jobs 0 .* must be positive"),
        (["digits", "--minutes", "nan"], "--minutes nan must be positive"),
    ],
)
def test_the_command_refuses_what_is_not_there(arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main(arguments)


def test_a_measurement_that_is_missing_is_so_in_its_table() -> None:
    assert plain_table([]) == "missing\n"


def test_a_part_without_a_row_is_missing_in_the_table(calls: list[list[str]]) -> None:
    rows = [{"run": f"first/seed-{n}", "test/accuracy": a} for n, a in ((0, "0.5"), (1, "0.6"))]
    results.add_rows("chain", rows)
    table = sweep_table("chain", {"first": "one", "third": "other"}, baselines="one")
    # the quantile of Student's t is tan(0.475 pi) with one degree of freedom; times 0.05
    one, other = table.splitlines()[2:]
    assert one == "| one | 2 | 0.5500 ± 0.6353 | - |"
    assert other == "| other | missing | - | - |"
