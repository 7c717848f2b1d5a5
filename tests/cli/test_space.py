"""A search space is read from a file, and every mistake in it is one message."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from context_agg.cli.errors import UserError
from context_agg.cli.space import Range, read_space, text
from context_agg.tune import check_space

BEST = "callbacks.best_checkpoint.monitor=val/loss"


def write(folder: Path, space: str, settings: str = "{}", monitor: str = "val/loss") -> Path:
    file = folder / "space.yaml"
    file.write_text(f"monitor: {monitor}\nsettings: {settings}\nspace: {space}\n")
    return file


def test_lists_are_values_and_ranges_are_whole_if_both_ends_are(tmp_path: Path) -> None:
    keys = (
        "{optimizer.lr: {low: 1e-4, high: 1, log: true}, model.channels: {low: 4, high: 16, "
        "step: 4}, model.dilations: [[1, 2], [4]], data: [digits], compile: [true, null, '1', 1]}"
    )
    space = read_space(write(tmp_path, keys, "{seed: 3, data.root: a b}"), ["seed=4"])
    assert space.settings == ["seed=4", "data.root=a b", BEST]
    assert space.keys == {
        "optimizer.lr": Range(0.0001, 1.0, log=True),
        "model.channels": Range(4, 16, step=4),
        "model.dilations": ["[1,2]", "[4]"],
        "data": ["digits"],
        "compile": ["true", "null", "'1'", "1"],
    }
    lr, channels = space.keys["optimizer.lr"], space.keys["model.channels"]
    assert isinstance(lr, Range)
    assert isinstance(channels, Range)
    assert {type(lr.low), type(lr.high)} == {float}
    assert {type(channels.low), type(channels.high), type(channels.step)} == {int}


@pytest.mark.parametrize(
    "value",
    [
        *("a", "a b", "it's", "a,b", "x=1", "1", "true", "null", "", "[1]", "é", "a'b\"c", "\\"),
        *(1, 0, 1.5e-7, True, False, None, [1, "x, y", [None]], {"a": [1, "2"]}),
    ],
)
def test_a_value_is_written_so_that_hydra_reads_it_back(value: object) -> None:
    read = OverridesParser.create().parse_override(f"key={text(value)}").value()
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{}", "space is empty"),
        ("[optimizer.lr]", "space must hold keys and their values"),
        ("{optimizer.lr: 0.1}", "optimizer.lr: 0.1: the values of a key are listed"),
        ("{optimizer.lr: []}", "a list has one value or more"),
        ("{seed: [1, 1]}", "all different"),
        ("{optimizer.lr: {low: 1}}", "the values of a key are listed"),
        ("{optimizer.lr: {low: 1, high: 2, base: 3}}", "a range has no base"),
        ("{optimizer.lr: {low: a, high: 2}}", "low, high and step are numbers"),
        ("{optimizer.lr: {low: true, high: 2}}", "low, high and step are numbers"),
        ("{optimizer.lr: {low: 1, high: .inf}}", "low, high and step are numbers"),
        ("{optimizer.lr: {low: 2, high: 2}}", "low must be below high"),
        ("{optimizer.lr: {low: 0, high: 2, log: true}}", "low must be above 0"),
        ("{optimizer.lr: {low: 1, high: 2, log: 1}}", "log is true or false"),
        ("{seed: {low: 1, high: 9, log: true, step: 2}}", "there is no step"),
        ("{seed: {low: 1, high: 9, step: 0}}", "step must be above 0"),
        ("{seed: {low: 1, high: 9, step: 9}}", "fit between low and high"),
        ("{seed: {low: 1, high: 9, step: 0.5}}", "the step between whole numbers"),
        ("{hydra.sweep.dir: [a, b]}", "Hydra's own settings have no place"),
        ("{callbacks.best_checkpoint.monitor: [val/loss]}", "set by the monitor"),
        ("{optimizer.lr: [1, 2], optimizer.lr: [3]}", "cannot read"),
        ("{optimizer.lr: [", "cannot read"),
        ("{trainer.max_epochs: [1, 2]}", "the search varies trainer.max_epochs"),
        ("{+trainer.max_epochs: [1, 2]}", "the search varies trainer.max_epochs"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(tmp_path: Path, space: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_space(write(tmp_path, space, "{trainer.max_epochs: 1}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=1,2"], "its values belong in the space"),
        (["~schedule"], "not take it away"),
        (["hydra/launcher=joblib"], "no place in a search"),
        (["optimizer.lr=1"], "the search varies optimizer.lr"),
    ],
)
def test_settings_that_a_search_cannot_do_with_are_refused(
    tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_space(write(tmp_path, "{optimizer.lr: [1, 2]}"), overrides)


def test_a_file_is_yaml(tmp_path: Path) -> None:
    for content in ("1", "{", "\xff"):
        (tmp_path / "space.yaml").write_text(content, encoding="latin-1")
        with pytest.raises(ValueError, match="cannot read"):
            read_space(tmp_path / "space.yaml")


@pytest.mark.parametrize("text", ["monitor: val/loss", "[]", "space: {}", "", "x: 1"])
def test_a_file_holds_a_monitor_and_a_space_and_nothing_else(tmp_path: Path, text: str) -> None:
    (tmp_path / "space.yaml").write_text(text)
    with pytest.raises(ValueError, match="must hold monitor, space"):
        read_space(tmp_path / "space.yaml")


def test_the_monitor_is_one_that_a_run_has(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="monitor=test/loss must be one of val/accuracy"):
        read_space(write(tmp_path, "{seed: [1]}", monitor="test/loss"))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{optimizer.lrr: [1, 2]}", "did you mean 'optimizer.lr'"),
        ("{optimizer.lr: [1, -2]}", "optimizer.lr=-2 must be a number above 0"),
        ("{optimizer.lr: {low: -1, high: 1}}", "optimizer.lr=-1 must be a number above 0"),
        ("{seed: {low: 0, high: 9e9}}", "seed=0.0 must be a whole number"),
        ("{seed: {low: 0, high: 9000000000}}", "seed=9000000000 must be a whole number"),
        ("{model: [basic, larg]}", "did you mean model=large"),
        ("{model.dilations: [[1, 1], [0]]}", "dilations"),
        ("{model.channels: {low: 0, high: 4}}", "channels=0 must be a whole number"),
        ("{experiment: [digits/backprop]}", "no experiment that is a sweep itself"),
    ],
)
def test_every_listed_value_and_both_ends_of_a_range_are_checked(
    tmp_path: Path, space: str, message: str
) -> None:
    with pytest.raises((SystemExit, UserError), match=message):
        check_space(write(tmp_path, space), [])
