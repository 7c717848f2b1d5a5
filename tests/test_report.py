"""The table and the figure for a folder of runs."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from torch.utils.tensorboard import SummaryWriter

from context_agg.report import main
from context_agg.runs.curves import plot_bands, plot_curves, read_curves
from context_agg.runs.settings import read_resolved
from context_agg.runs.table import FILES, find_runs, in_words, write_report

ACCURACY = {"auto": [0.9, 0.95, 0.97], "broken": [0.5]}


def write_runs(folder: Path) -> None:
    for variant, accuracies in ACCURACY.items():
        for seed, accuracy in enumerate(accuracies):
            run_dir = folder / f"backprop-{variant}" / f"seed-{seed}"
            with SummaryWriter(str(run_dir)) as writer:
                for epoch in range(4):
                    for tag in ("train/loss", "train/accuracy", "val/loss", "val/accuracy"):
                        writer.add_scalar(tag, seed + 0.1 * epoch, 7 * epoch)
            scores = {"test/loss": 1 - accuracy, "test/accuracy": accuracy}
            scores |= {"final/accuracy": accuracy / 2, "seconds": 10.0 + seed, "epochs": 4}
            (run_dir / "metrics.json").write_text(json.dumps(scores))
    (folder / "backprop-auto" / "seed-9").mkdir()  # interrupted: no metrics.json


def test_runs_are_grouped_by_what_varies_without_the_seed(tmp_path: Path) -> None:
    write_runs(tmp_path)
    variants = find_runs(tmp_path)
    assert {name: len(runs) for name, runs in variants.items()} == {
        "backprop-auto": 3,
        "backprop-broken": 1,
    }
    assert list(find_runs(tmp_path / "backprop-auto")) == ["backprop-auto"]  # only seeds vary


def test_mean_and_interval_are_those_of_scipy(tmp_path: Path) -> None:
    write_runs(tmp_path)
    table = write_report(tmp_path).table
    with (tmp_path / "report.csv").open() as file:
        auto, broken = csv.DictReader(file)
    values = ACCURACY["auto"]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert float(auto["test/accuracy"]) == pytest.approx(np.mean(values))
    assert float(auto["test/accuracy ±"]) == pytest.approx((high - low) / 2)
    assert (auto["variant"], auto["runs"], broken["runs"]) == ("auto", "3", "1")
    assert broken["test/accuracy ±"] == "nan"
    assert f"| auto | 3 | {0.06:.4f} ± {(high - low) / 2:.4f} |" in table
    assert "| broken | 1 (example) | 0.5000 | 0.5000 |" in table
    assert "half the 95 % interval of the mean over the seeds (Student's t)" in table
    assert (tmp_path / "report.md").read_text() == table
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_difference_from_a_baseline_is_over_the_seeds_that_both_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path)
    for seed, accuracy in ((2, 0.93), (0, 0.91), (5, 0.1)):
        shutil.copytree(tmp_path / "backprop-auto" / "seed-0", tmp_path / f"noise-x/seed-{seed}")
        scores = {"test/loss": 0.3, "test/accuracy": accuracy, "final/accuracy": 0.5}
        scores |= {"seconds": 10.0, "epochs": 4}
        (tmp_path / f"noise-x/seed-{seed}" / "metrics.json").write_text(json.dumps(scores))
    main([str(tmp_path), "--baseline", "auto"])
    with (tmp_path / "report.csv").open() as file:
        auto, broken, noise = csv.DictReader(file)
    assert auto["test/accuracy difference"] == "nan"
    assert float(broken["test/accuracy difference"]) == pytest.approx(0.5 - 0.9)  # seed 0
    assert broken["test/accuracy difference ±"] == "nan"
    interval = stats.ttest_rel([0.91, 0.93], [0.9, 0.97]).confidence_interval(0.95)
    assert float(noise["test/accuracy difference"]) == pytest.approx(-0.015)
    half = float(noise["test/accuracy difference ±"])
    assert (-0.015 - half, -0.015 + half) == pytest.approx((interval.low, interval.high))
    printed = capsys.readouterr().out
    assert f"| -0.0150 ± {half:.4f} |" in printed
    assert "difference: from auto, same seeds." in printed


def write_run(run_dir: Path, like: Path, seed: int, accuracy: float) -> None:
    """A run with settings that name its seed."""
    shutil.copytree(like / "backprop-auto" / "seed-0", run_dir)
    scores = json.loads((run_dir / "metrics.json").read_text()) | {"test/accuracy": accuracy}
    (run_dir / "metrics.json").write_text(json.dumps(scores))
    (run_dir / ".hydra").mkdir()
    (run_dir / ".hydra" / "config.yaml").write_text(f"seed: {seed}\n")


def differences_from(folder: Path, baseline: str) -> dict[str, float]:
    """The difference of the test accuracy, by variant."""
    write_report(folder, baseline)
    with (folder / "report.csv").open() as file:
        return {
            row["variant"]: float(row["test/accuracy difference"]) for row in csv.DictReader(file)
        }


def test_runs_are_paired_by_the_seed_of_their_settings(tmp_path: Path) -> None:
    runs, like = tmp_path / "r", tmp_path / "like"
    write_runs(like)
    write_run(runs / "right", like, 0, 0.9)
    write_run(runs / "broken", like, 0, 0.5)  # the same seed, by another name
    write_run(runs / "late" / "seed-0", like, 1, 0.1)  # another seed, by the name of the first
    write_run(runs / "copied" / "seed-1", like, 0, 0.7)
    write_run(runs / "copied" / "seed-2", like, 0, 0.2)  # a copy counts, but is paired with none
    found = differences_from(runs, "right")
    assert found["broken"] == pytest.approx(-0.4)
    assert np.isnan(found["late"])
    assert found["copied"] == pytest.approx(-0.2)
    assert "| copied | 2 |" in (runs / "report.md").read_text()


def test_runs_of_one_name_and_different_seeds_are_not_paired(tmp_path: Path) -> None:
    runs, like = tmp_path / "r", tmp_path / "like"
    write_runs(like)
    write_run(runs / "right" / "run", like, 0, 0.9)
    write_run(runs / "broken" / "run", like, 7, 0.5)
    assert np.isnan(differences_from(runs, "right/run")["broken/run"])
    table = (runs / "report.md").read_text()
    assert "; no difference from right/run: no other run has a seed of its runs." in table
    assert "same seeds" not in table


def test_a_baseline_that_is_not_there_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_runs(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit, match="'manual', to be the baseline; there are auto; broken"):
        main([str(tmp_path), "--baseline", "manual"])
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("backprop-feedback_alignment_model.init-normal", "feedback_alignment, normal"),
        ("front_end.lift-2_model.init-xavier_optimizer.lr-0.003", "lift 2, xavier, lr 0.003"),
        ("compile-true_data.batch_size-32_model-large", "compile true, batch_size 32, large"),
        ("frozen-", "frozen"),
        ("sweep/model.dilations-1-2-4", "sweep/dilations 1-2-4"),
        ("2026-11-25_10-30", "2026-11-25_10-30"),
        ("my_model-2", "my, model 2"),
    ],
)
def test_variants_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


def test_variants_that_would_be_called_alike_keep_their_names(tmp_path: Path) -> None:
    write_runs(tmp_path)
    (tmp_path / "backprop-broken").rename(tmp_path / "model-auto")
    assert "| backprop-auto | 3 |" in write_report(tmp_path).table


def test_the_curves_are_written_as_a_table(tmp_path: Path) -> None:
    write_runs(tmp_path)
    write_report(tmp_path)
    with (tmp_path / "curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 4
    assert rows[5]["run"] == "backprop-auto/seed-1"
    assert rows[5]["epoch"] == "2"
    assert rows[5]["val/accuracy"] == "1.1"


def test_the_figure_shows_mean_and_range_of_every_variant(tmp_path: Path) -> None:
    write_runs(tmp_path)
    runs = {name: [read_curves(run) for run in dirs] for name, dirs in find_runs(tmp_path).items()}
    loss, _ = plot_bands(runs).axes
    auto, broken = loss.get_lines()
    np.testing.assert_allclose(auto.get_ydata(), [1.0, 1.1, 1.2, 1.3], rtol=1e-6)
    np.testing.assert_allclose(broken.get_ydata(), [0.0, 0.1, 0.2, 0.3], atol=1e-6)
    band = np.asarray(loss.collections[0].get_paths()[0].vertices)
    assert band[:, 1].min() == pytest.approx(0)
    assert band[:, 1].max() == pytest.approx(2.3)


def test_the_four_panels_show_what_was_logged(tmp_path: Path) -> None:
    write_runs(tmp_path)
    curves = read_curves(tmp_path / "backprop-auto" / "seed-1")
    panels = plot_curves(curves, "validation").axes
    titles = [axes.get_title() for axes in panels]
    assert titles == [
        f"{quantity}, {stage}"
        for quantity in ("cost", "accuracy")
        for stage in ("training", "held-out (validation)")
    ]
    for axes in panels:
        (line,) = axes.get_lines()
        assert list(line.get_xdata()) == [1, 2, 3, 4]
        np.testing.assert_allclose(line.get_ydata(), [1.0, 1.1, 1.2, 1.3], rtol=1e-6)


def test_a_single_epoch_is_a_mark_in_every_panel() -> None:
    """A line through one point draws nothing."""
    names = [f"{stage}/{name}" for stage in ("train", "val") for name in ("loss", "accuracy")]
    curves = {name: [0.5] for name in [*names, "val/iou"]}
    curves["val/iou"] = [0.25]
    for figure in (plot_curves(curves, "validation"), plot_bands({"a": [curves]})):
        for axes in figure.axes:
            for line in axes.get_lines():
                assert line.get_marker() == "."


def test_a_folder_without_runs_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path)])
    assert "no finished run" in str(error.value)
    with pytest.raises(FileNotFoundError, match="no train/accuracy, train/loss"):
        read_curves(tmp_path)
    assert list(tmp_path.iterdir()) == []


def odd_run(folder: Path, kind: str) -> Path:
    """A directory that looks like a run, in a folder of runs."""
    run_dir = folder / "odd" / "seed-0"
    if kind == "exported":
        shutil.copytree(Path(__file__).parents[1] / "models" / "basic_mnist", run_dir)
        return run_dir
    shutil.copytree(folder / "backprop-auto" / "seed-0", run_dir)
    metrics, (events,) = run_dir / "metrics.json", run_dir.glob("events*")
    if kind == "damaged scores":
        metrics.write_text("[1]")
    elif kind == "scores that are a folder":
        metrics.unlink()
        metrics.mkdir()
    elif kind == "another format":
        (run_dir / "data.json").write_text('{"format": 1}')
    elif kind == "half an event file":
        os.truncate(events, events.stat().st_size // 2)
    elif kind == "an empty event file":
        os.truncate(events, 0)
    elif kind == "fewer epochs":
        metrics.write_text(metrics.read_text().replace('"epochs": 4', '"epochs": 5'))
    else:
        events.unlink()
        events.symlink_to("nowhere")
    return run_dir


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("exported", "no train/accuracy, train/loss"),
        ("damaged scores", "must hold an object, not [1]"),
        ("scores that are a folder", "is not a file"),
        ("another format", "a run of format 1"),
        ("half an event file", ""),
        ("an empty event file", "in the event files of"),
        ("fewer epochs", "hold 4 epochs, but its metrics.json says 5"),
        ("a link to nowhere", ""),
    ],
)
def test_an_odd_directory_is_named_and_costs_its_own_row_only(
    kind: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path)
    main([str(tmp_path)])
    table = capsys.readouterr().out
    files = {name: (tmp_path / name).read_bytes() for name in FILES if name != "report.png"}
    odd = odd_run(tmp_path, kind)
    with pytest.raises(SystemExit) as exit_:
        main([str(tmp_path)])
    line = str(exit_.value.code)
    assert line.startswith("left out: ")
    assert str(odd) in line
    assert says in line
    assert "\n" not in line
    assert capsys.readouterr().out == table
    assert {name: (tmp_path / name).read_bytes() for name in files} == files


def test_a_file_is_no_folder_of_runs(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match=r"/file is a file, not a folder$"):
        find_runs(tmp_path / "file")
    with pytest.raises(NotADirectoryError, match=r"/file is a file, not a folder$"):
        read_resolved(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*/nowhere$"):
        find_runs(tmp_path / "nowhere")


def test_nothing_is_written_if_no_run_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text("null")
    with pytest.raises(SystemExit, match=r"left out: .*metrics.json must hold an object, not None"):
        main([str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_report_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    write_runs(tmp_path)
    (tmp_path / "runs.csv").mkdir()
    with pytest.raises(SystemExit, match=r"runs.csv.*: Is a directory") as exit_:
        main([str(tmp_path)])
    assert "Errno" not in str(exit_.value.code)
