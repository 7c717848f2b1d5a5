"""Runs whose images are read by workers: a cut, a resume, Ctrl-C, files that are wrong."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.command import call
from tests.cut_off import cut_off
from tests.fake_pairs import write_folder
from tests.moments import at
from tests.tiny_run import run, scalars, weights

SIZES = ((12, 15), (14, 11), (9, 20))


def options(root: Path) -> list[str]:
    return [
        "model.dilations=[1,2]",
        "model.widths=[1,1]",
        "data=folder",
        f"data.root={root}",
        "data.classes=[road,car,sky]",
        "data.ignore=9",
        "data.crop=[8,8]",
        "data.zoom=0.3",
        "data.memory=0",
        "data.batch_size=2",
    ]


def test_what_workers_read_ends_in_the_same_bits_after_a_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """14 images are 7 steps an epoch; the run is cut off in step 12, and one worker goes on."""
    write_folder(tmp_path / "own", 20, SIZES)
    ours = options(tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "whole", *ours, "data.workers=0", "data.memory=1")
    cut_off(12, Path("cut"), *ours, "data.workers=2")
    assert call("train", "resume=cut", "data.workers=1") == 0
    one, two = weights(Path("whole")), weights(Path("cut"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    logged, expected = scalars(Path("cut")), scalars(Path("whole"))
    for name in ("train/loss", "val/loss", "val/iou", "test/loss", "test/iou"):
        assert logged[name] == expected[name]


@pytest.mark.slow
def test_ctrl_c_reaches_the_workers_too_and_the_run_is_kept(tmp_path: Path) -> None:
    """A terminal sends it to the run and to its workers."""
    write_folder(tmp_path / "own", 20, SIZES)
    arguments = [*options(tmp_path / "own"), "trainer.max_epochs=500", "hydra.run.dir=run"]
    command = [sys.executable, "-m", "context_agg.train", "model.channels=2", *arguments]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # a caller in the background ignores it, which is inherited
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 3/"):
            break
    time.sleep(0.5)
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=100)
    assert process.returncode == 130
    assert "Traceback" not in rest
    assert "is kept; go on with: python -m context_agg.train resume=run" in rest


# files that are wrong


def spoil_number(root: Path) -> str:
    mask = root / "masks" / "train" / "train03.png"
    numbers = np.array(Image.open(mask))
    numbers[4, 5] = 7
    Image.fromarray(numbers).save(mask)
    return f"{mask}: the pixel in row 4, column 5 has the number 7, but"


def truncate(root: Path) -> str:
    image = root / "images" / "train" / "train03.png"
    image.write_bytes(image.read_bytes()[:-60])
    return f"cannot read {image}: "


def settings(root: Path) -> list[str]:
    """The settings for a folder whose training images are 5 steps an epoch."""
    for part, count in (("train", 10), ("val", 2), ("test", 2)):
        write_folder(root, count, SIZES, part)
    return [*options(root), "model.channels=2", "trainer.max_epochs=2", "hydra.run.dir=run"]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("spoil", [spoil_number, truncate])
def test_a_bad_file_ends_the_run_with_one_line_that_says_what_is_kept(
    spoil: Callable[[Path], str], workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [*settings(Path("own")), "checkpoint.every_steps=1", f"data.workers={workers}"]
    expected = spoil(Path("own"))
    message = call("train", *arguments)
    assert isinstance(message, str)  # so the exit code is 1
    assert message.startswith(expected)
    assert "\n" not in message
    assert re.search(r"\. Fix what python -m context_agg\.data DIR names; .* is kept", message)
    assert message.endswith(" with: python -m context_agg.train resume=run")


def test_a_file_that_vanishes_during_a_run_is_named_and_with_it_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The 10 images are 5 steps an epoch; the file is missing from the second epoch on."""
    monkeypatch.chdir(tmp_path)
    arguments = [*settings(Path("own")), "checkpoint.every_steps=1", "data.workers=1"]
    image, away = Path("own/images/train/train03.png"), Path("away.png")
    with pytest.MonkeyPatch.context() as patch:
        validation = "context_agg.training.learner:Learner.validation_step"
        at(validation, 1, lambda: image.rename(away), patch)
        message = call("train", *arguments)
    assert isinstance(message, str)
    assert message.startswith(f"there is no file {image}. Fix what")
    assert "is kept; go on with: python -m context_agg.train resume=run" in message
    away.rename(image)
    assert call("train", "resume=run") == 0


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "traced"), [(0, "0"), (1, "0"), (2, "0"), (1, "1")])
def test_a_bad_file_ends_the_command_and_its_workers(
    workers: int, traced: str, tmp_path: Path
) -> None:
    """With HYDRA_FULL_ERROR=1 the error is uncaught, and its trace keeps the loader to the end."""
    root = tmp_path / "own"
    arguments = [*settings(root), f"data.workers={workers}"]
    expected = spoil_number(root)
    process = subprocess.Popen(
        [sys.executable, "-m", "context_agg.train", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "HYDRA_FULL_ERROR": traced},
    )
    try:
        _, error = process.communicate(timeout=200)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 1
    assert expected in error
    assert error.count("\n") == 1 or traced == "1"
