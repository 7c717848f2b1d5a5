"""A study runs what has no row in its CSV, in the correct order, and records it once."""

import csv
import json
import subprocess
from pathlib import Path

import pytest

from context_agg.cli.compose import CONF
from studies import results, study
from studies.__main__ import STUDIES, TABLES, main
from studies.study import Study, SweepRun
from studies.tables import in_words
from tests.command import call
from tests.fake_mnist import write_mnist

BATCH = [f"trainer.limit_{stage}_batches=1" for stage in ("train", "val", "test")]
SCENES = [f"data.{part}_scenes=16" for part in ("train", "validation", "test")]
PARTS = sorted(f"{file.parent.name}/{file.stem}" for file in CONF.glob("experiment/*/*.yaml"))


def first_run(part: str) -> SweepRun:
    name, _, own = part.partition("/")
    return next(run for run in Study(name).runs() if run.part == own)


def train_a_batch(part: str) -> SweepRun:
    """Trains the first run of a sweep in this process, for one epoch of one batch."""
    run = first_run(part)
    few = SCENES if part.startswith("scenes/") else []
    options = ["hydra/launcher=basic", "trainer.max_epochs=1", *BATCH, *few]
    assert call("train", f"experiment={part}", *run.lines.values(), *options) == 0
    return run


@pytest.mark.parametrize("part", [part for part in PARTS if not part.startswith("scenes/")])
def test_every_sweep_trains_where_its_study_looks_for_it(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mnist(tmp_path / "DIR")
    monkeypatch.setenv("CONTEXT_AGG_DATA", str(tmp_path / "DIR"))
    monkeypatch.chdir(tmp_path)
    run = train_a_batch(part)
    assert (run.directory / "metrics.json").is_file()


@pytest.mark.slow
def test_the_stages_of_the_scenes_train_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stages = sorted((part for part in PARTS if part.startswith("scenes/")), key=depth)
    assert stages[0] == "scenes/front_end"
    for part in stages:
        run = train_a_batch(part)
        assert (run.directory / "metrics.json").is_file()


def depth(part: str) -> int:
    """How many sweeps come before one."""
    start = first_run(part).starts_from()
    return 0 if start is None else 1 + depth("/".join(start.parts[1:3]))


def test_every_sweep_belongs_to_a_study_and_every_number_to_a_sweep() -> None:
    assert {part.partition("/")[0] for part in PARTS} <= STUDIES.keys()
    for name, one in STUDIES.items():
        recorded = [row["run"] for row in results.read(name)]
        assert len(recorded) == len(set(recorded))
        assert set(recorded) <= {run.name for run in one.runs()}
        assert set(one.models.values()) <= {run.name for run in one.runs()}
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
    called: list[list[str]] = []

    def train(command: list[str], cwd: Path, check: bool) -> None:
        assert command[1:3] == ["-m", "context_agg.train"]
        called.append(command[3:])
        for run in Study("chain").runs():
            if command[3] == f"experiment=chain/{run.part}" and takes(run, command[4:]):
                file = tmp_path / run.directory / "metrics.json"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps({"seconds": 10.0, "test/accuracy": 0.5}))

    monkeypatch.setattr(subprocess, "run", train)
    return called


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
    assert chain.run() == []
    assert calls == [[f"experiment=chain/{part}"] for part in SWEEPS]
    recorded = rows("chain")
    assert {row["run"] for row in recorded} == {run.name for run in chain.runs()}
    assert recorded[0] == {"run": "first/seed-0", "seconds": "10.0", "test/accuracy": "0.5"}
    assert chain.seconds() == 70
    epochs = [row for row in rows("chain_curves") if row["run"] == "third/seed-1"]
    assert [row["val/accuracy"] for row in epochs] == ["0.1", "0.2"]
    assert chain.run() == []
    assert len(calls) == 3
    assert rows("chain") == recorded


def test_a_missing_row_is_run_again_with_what_it_starts_from_where_outputs_are_gone(
    calls: list[list[str]], tmp_path: Path
) -> None:
    chain = Study("chain")
    names = [run.name for run in chain.runs() if run.name != "third/seed-1"]
    kept = [{"run": name, "seconds": "1", "test/accuracy": "0.9"} for name in names]
    results.add_rows("chain", kept)
    assert chain.run() == []
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
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: None)
    assert len(Study("chain").run()) == 7
    assert not (results.RESULTS / "chain.csv").exists()


def test_a_measurement_is_made_once_and_its_time_is_noted(calls: list[list[str]]) -> None:
    made: list[int] = []

    def measure() -> list[list[str]]:
        made.append(1)
        return [["what", "value"], ["x", "1"]]

    measured = Study("chain", measurements={"extra": measure}, needs=("first",))
    measured.run()
    measured.run()
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
        ("x/front_end.lift-2", "", "2"),
    ],
)
def test_names_of_directories_in_words(variant: str, words: str, expected: str) -> None:
    assert in_words(variant, words) == expected


def test_the_command_lists_the_studies_and_refuses_an_unknown_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main([])
    listed = capsys.readouterr().out
    for name in STUDIES:
        assert f"| {name} |" in listed
    assert listed == TABLES["studies"]()
    with pytest.raises(SystemExit, match="there is no study 'digit'; choose one of all, digits"):
        main(["digit"])
