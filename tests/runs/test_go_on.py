"""`resume=DIR`: what a run goes on with, and what it is refused."""

import json
import random
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from context_agg.cli.compose import compose_config
from context_agg.cli.errors import UserError
from context_agg.runs import checkpoints
from context_agg.training.learner import Learner
from tests.command import call
from tests.cut_off import EVERY, cut_off
from tests.tiny_run import TINY, run, scalars, weights


def best(run_dir: Path) -> dict[str, torch.Tensor]:
    return dict(checkpoints.read(run_dir / "checkpoints" / "best.ckpt")["state_dict"])


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_command_goes_on_in_the_same_directory_and_makes_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(tmp_path / "whole")
    monkeypatch.chdir(tmp_path)
    cut_off(15, Path("cut"))
    settings = Path("cut/.hydra/config.yaml").read_text()
    capsys.readouterr()
    assert call("train", "resume=cut") == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "goes on    after step 12 (batch 2 of epoch 2), from cut/checkpoints/last.ckpt"
    assert_equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    assert Path("cut/.hydra/config.yaml").read_text() == settings
    assert "resume" not in settings
    assert {path.name for path in tmp_path.iterdir()} == {"cut", "whole"}


def test_a_finished_run_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("done"))
    before = {file: file.stat().st_mtime_ns for file in Path("done").rglob("*")}
    capsys.readouterr()
    assert call("train", "resume=done") == 0
    assert capsys.readouterr().out == "finished before: done\n"
    assert {file: file.stat().st_mtime_ns for file in Path("done").rglob("*")} == before


def test_a_finished_run_can_be_made_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had been that long from the start; the time adds up."""
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "long", "trainer.max_epochs=3")
    short = run(tmp_path / "grown", "trainer.max_epochs=1")
    assert call("train", "resume=grown", "trainer.max_epochs=3") == 0
    assert_equal(weights(tmp_path / "grown"), weights(tmp_path / "long"))
    assert_equal(best(tmp_path / "grown"), best(tmp_path / "long"))
    grown = json.loads((tmp_path / "grown" / "metrics.json").read_text())
    assert grown["epochs"] == 3
    assert grown["seconds"] > short["seconds"]
    for name in ("train/loss", "val/loss", "val/accuracy", "test/loss"):
        assert scalars(tmp_path / "grown")[name] == scalars(tmp_path / "long")[name]
    assert "max_epochs: 3" in (tmp_path / "grown" / ".hydra" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (["optimizer.lr=0.1"], ["optimizer.lr=0.1 would change the run", "data.root"]),
        (["model.channels=3"], ["model.channels=3 would change the run"]),
        (["seed=1"], ["seed=1 would change the run"]),
        (["model=large"], ["model=large would change the run"]),
        (["+trainer.gradient_clip_val=1"], ["+trainer.gradient_clip_val=1 would change"]),
        (["~schedule"], ["~schedule would change the run"]),
        (["trainer.max_epochs=1"], ["trainer.max_epochs=1 would change the run", "may grow"]),
        (["trainer.max_epochs=x"], ["trainer.max_epochs=x would change the run"]),
        (["checkpoint.every_minutes=-1"], ["checkpoint.every_minutes=-1 must be"]),
        (["checkpoint.every_hours=1"], ["checkpoint.every_hours=1 would change the run"]),
        (["seed=0,1"], ["seed=0,1 would change the run"]),
        (["nonsense"], ["nonsense"]),
        (["-m"], ["resume=DIR goes on with one run", "-m"]),
        (["--cfg", "job"], ["leave out --cfg"]),
        (["resume=other"], ["resume=DIR takes the directory of one run"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_what_would_change_the_run_is_refused_by_name(
    changes: list[str],
    parts: list[str],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "refused"
    if not folder.is_dir():
        run(folder / "done", "trainer.limit_train_batches=1")
    monkeypatch.chdir(folder)
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    message = str(call("train", "resume=done", *changes))
    for part in parts:
        assert part in message
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_a_run_with_a_schedule_cannot_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("done"), "schedule=cosine", "trainer.limit_train_batches=1")
    message = str(call("train", "resume=done", "trainer.max_epochs=5"))
    assert "a schedule of the learning rate over 2 epochs" in message
    assert "train a new one" in message


@pytest.mark.parametrize("folder", ["nothing", "", "empty"])
def test_a_directory_that_is_not_a_run(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    message = str(call("train", f"resume={folder}"))
    assert "resume=DIR takes" in message if not folder else folder in message
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_run_without_a_checkpoint_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("whole"))
    cut_off(2, Path("cut"))
    assert not Path("cut/checkpoints/last.ckpt").exists()
    assert call("train", "resume=cut") == 0
    assert_equal(weights(Path("cut")), weights(Path("whole")))
    assert scalars(Path("cut"))["train/loss"] == scalars(Path("whole"))["train/loss"]


def test_a_run_without_a_checkpoint_begins_again_with_other_settings(tmp_path: Path) -> None:
    """What is left of the first is gone, and files of the user's own are not."""
    cut_off(2, tmp_path / "run", "callbacks=gradient_alignment")
    left = {file for file in (tmp_path / "run").iterdir() if file.is_file()}
    assert {"gradients.csv", "hparams.yaml"} < {file.name for file in left}
    (tmp_path / "run" / "notes.txt").write_text("mine")
    run(tmp_path / "run", "optimizer.lr=0.002")
    run(tmp_path / "fresh", "optimizer.lr=0.002")
    assert_equal(weights(tmp_path / "run"), weights(tmp_path / "fresh"))
    assert scalars(tmp_path / "run")["train/loss"] == scalars(tmp_path / "fresh")["train/loss"]
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "run" / "gradients.csv").exists()
    assert len(list((tmp_path / "run").glob("events*"))) == len(
        list((tmp_path / "fresh").glob("events*"))
    )


def test_a_run_with_a_checkpoint_does_not_begin_again_with_other_settings(tmp_path: Path) -> None:
    cut_off(5, tmp_path / "run")
    with pytest.raises(UserError, match="was cut off, with other settings of optimizer"):
        run(tmp_path / "run", "optimizer.lr=0.002")


class Draws(L.Callback):
    """Draws from every global random generator at every step."""

    def __init__(self) -> None:
        self.drawn: list[tuple[float, float, float]] = []

    def on_train_batch_start(self, *operands: object) -> None:
        self.drawn.append((random.random(), float(np.random.rand()), float(torch.rand(()))))


def test_the_global_random_generators_go_on_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Draws] = []

    def build_callbacks(*operands: Any) -> list[L.Callback]:
        made.append(Draws())
        return [*original(*operands), made[-1]]

    from context_agg.runs import build

    original = build.build_callbacks
    monkeypatch.setattr(build, "build_callbacks", build_callbacks)
    run(tmp_path / "whole")
    cut_off(15, tmp_path / "cut")  # from the checkpoint after step 12
    run(tmp_path / "cut", EVERY)
    whole, before, after = (draws.drawn for draws in made)
    assert len(whole) == 20
    assert before[:12] + after == whole


def test_other_arithmetic_is_refused_or_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Other rules or devices never; another version of torch only if nothing strict is asked."""
    from context_agg.training import arithmetic as module

    monkeypatch.chdir(tmp_path)
    cut_off(15, Path("cut"))
    cut_off(15, Path("strict"), "determinism=strict")
    true = module.arithmetic

    def pretend(**other: object) -> None:
        for user in ("context_agg.runs.resume", "context_agg.callbacks.last_checkpoint"):
            monkeypatch.setattr(
                f"{user}.arithmetic", lambda *operands: {**true(*operands), **other}
            )

    for other in ({"rules": ["another"]}, {"device": "cuda"}):
        pretend(**other)
        assert "the run cannot go on as it began" in str(call("train", "resume=cut"))
    pretend(torch="9.9")
    assert "torch 9.9, not" in str(call("train", "resume=strict"))
    capsys.readouterr()
    assert call("train", "resume=cut") == 0
    assert "not bit for bit as it began: torch 9.9, not" in capsys.readouterr().out


def test_it_goes_on_with_the_threads_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves those of the process as they were."""
    try:
        torch.set_num_threads(2)
        cut_off(15, tmp_path)
    finally:
        torch.set_num_threads(1)
    original, threads = Learner.training_step, set()

    def training_step(self: Learner, batch: Any) -> Any:
        threads.add(torch.get_num_threads())
        return original(self, batch)

    monkeypatch.setattr(Learner, "training_step", training_step)
    run(tmp_path, EVERY)
    assert threads == {2}
    assert torch.get_num_threads() == 1


def test_a_step_that_needs_too_much_memory_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def training_step(self: Learner, batch: Any) -> Any:
        return torch.empty(2**60).sum()  # what the allocator of the CPU refuses

    monkeypatch.setattr(Learner, "training_step", training_step)
    with pytest.raises(UserError, match=r"not enough memory for a step; lower data\.batch_size"):
        run(tmp_path)


def test_scores_that_are_not_finite_are_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Learner._step

    def step(self: Learner, batch: Any, loss: Any, metrics: Any) -> Any:
        x, target = batch
        if metrics is self.test_metrics:
            x = x * torch.nan
        return original(self, (x, target), loss, metrics)

    monkeypatch.setattr(Learner, "_step", step)
    with pytest.raises(UserError, match="test/loss is nan, so the run has no result"):
        run(tmp_path)
    assert not (tmp_path / "metrics.json").exists()


def test_a_finished_run_without_checkpoints_cannot_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(Path("done"), "trainer.limit_train_batches=1")
    for name in ("last", "previous"):
        Path("done", "checkpoints", f"{name}.ckpt").unlink(missing_ok=True)
    message = str(call("train", "resume=done", "trainer.max_epochs=5"))
    assert "has no checkpoints/last.ckpt to go on from" in message
    assert Path("done", "metrics.json").is_file()


def test_strict_runs_repeat_bit_for_bit(tmp_path: Path) -> None:
    for name in ("one", "same"):
        run(tmp_path / name, "determinism=strict")
        assert torch.are_deterministic_algorithms_enabled()
    assert_equal(weights(tmp_path / "one"), weights(tmp_path / "same"))
    run(tmp_path / "seeded")
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_a_deterministic_form_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of one on CUDA, an operation that torch refuses on every device."""
    original = Learner.training_step

    def training_step(self: Learner, batch: Any) -> Any:
        torch.zeros(2).put_(torch.tensor([0]), torch.tensor([1.0]))
        return original(self, batch)

    monkeypatch.setattr(Learner, "training_step", training_step)
    with pytest.raises(UserError, match=r"determinism=strict: put_.*; use determinism=seeded"):
        run(tmp_path / "strict", "determinism=strict")
    run(tmp_path / "seeded")


def test_data_can_lie_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.fake_mnist import write_mnist

    for name in ("here", "there"):
        write_mnist(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    mnist = [line for line in TINY if "batches" not in line]
    cfg = compose_config(*mnist, EVERY, "data=mnist", "data.root=here")
    assert cfg.data.root == "here"
    cut_off(15, Path("cut"), "data=mnist", "data.root=here")
    (tmp_path / "here").rename(tmp_path / "gone")
    assert "here" in str(call("train", "resume=cut"))
    assert call("train", "resume=cut", "data.root=there", "checkpoint.every_minutes=1") == 0
    assert "root: there" in Path("cut/.hydra/config.yaml").read_text()
