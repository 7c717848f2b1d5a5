"""Runs whose images are read by workers: a cut, a resume, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.command import call
from tests.cut_off import cut_off
from tests.fake_pairs import write_folder
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
