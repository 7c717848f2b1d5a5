"""What torchrun and srun say of a process, and settings that do not go with it."""

import os
import re

import pytest

from context_agg.cli import ranks
from context_agg.cli.compose import compose_config
from tests.command import call

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE")
OTHERS = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *OTHERS):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


def torchrun(monkeypatch: pytest.MonkeyPatch, *values: int) -> None:
    for name, value in zip(NAMES, values, strict=True):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")


def srun(monkeypatch: pytest.MonkeyPatch, nodes: str, **values: int) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
    ranks.prepare()


def test_a_process_alone_leads() -> None:
    ranks.prepare()
    assert (ranks.rank(), ranks.count(), ranks.on_each_machine(), ranks.machines()) == (0, 1, 1, 1)
    assert ranks.leads()
    assert ranks.command() == "python -m context_agg.train"


def test_the_last_of_two_times_three_processes_of_torchrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torchrun(monkeypatch, 5, 6, 2, 3, 1, 2)
    assert (ranks.rank(), ranks.count(), ranks.on_each_machine(), ranks.machines()) == (5, 6, 3, 2)
    assert not ranks.leads()
    assert ranks.command() == (
        "torchrun --nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=HOST:PORT --nproc-per-node=3 "
        "-m context_agg.train"
    )


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[03-04,07]", "gpu03"),
        ("gpu[7,9]", "gpu7"),
        ("a100-1,b2", "a100-1"),
        ("node-a", "node-a"),
        ("r1n[010-011],r2n1", "r1n010"),
    ],
)
def test_srun_gives_the_same_under_other_names(
    nodes: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    srun(
        monkeypatch, nodes,
        STEP_NUM_TASKS=6, STEP_NUM_NODES=2, PROCID=5, LOCALID=2, NODEID=1, JOB_ID=123457, STEP_ID=0,
    )  # fmt: skip
    assert (ranks.rank(), ranks.count(), ranks.on_each_machine(), ranks.machines()) == (5, 6, 3, 2)
    assert os.environ["MASTER_ADDR"] == first
    assert os.environ["MASTER_PORT"] == "18457"
    assert ranks.command() == "srun --nodes=2 --ntasks-per-node=3 -K python -m context_agg.train"


def test_one_task_of_srun_is_a_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    srun(monkeypatch, "n1", STEP_NUM_TASKS=1, PROCID=0, JOB_ID=1, STEP_ID=0)
    assert "RANK" not in os.environ


@pytest.mark.parametrize(
    ("started", "overrides", "parts"),
    [
        (None, ["trainer=ddp"], ["torchrun --nproc-per-node=2 -m context_agg.train", "srun"]),
        ((0, 2, 0, 2, 0, 1), [], ["2 processes have been started", "trainer=ddp"]),
        ((0, 3, 0, 2, 0, 2), ["trainer=ddp"], ["3 processes on 2 machines", "--nproc-per-node=N"]),
        (
            (0, 2, 0, 2, 0, 1),
            ["trainer=ddp", "callbacks=gradient_alignment"],
            ["callbacks=gradient_alignment", "leave out trainer=ddp"],
        ),
        (
            (0, 2, 0, 2, 0, 1),
            ["trainer=ddp", "+loss.reduction=sum"],
            ["loss.reduction=sum", "leave it out"],
        ),
    ],
    ids=["not started", "not ddp", "uneven", "alignment", "sum"],
)
def test_what_does_not_go_together_is_refused(
    started: tuple[int, ...] | None,
    overrides: list[str],
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if started:
        torchrun(monkeypatch, *started)
    cfg = compose_config(*overrides)
    with pytest.raises(ValueError, match=re.escape(parts[0])) as refused:
        ranks.check(cfg)
    assert parts[1] in str(refused.value)


def test_a_sweep_is_not_trained_by_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    message = str(call("train", "-m", "trainer=ddp", "seed=0,1"))
    assert "trainer=ddp does not go with -m" in message


@pytest.mark.parametrize("started", [(0, 1, 0, 1, 0, 1), (1, 4, 1, 2, 0, 2)])
def test_what_goes_together_passes(
    started: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    torchrun(monkeypatch, *started)
    ranks.check(compose_config("trainer=ddp"))


def test_the_way_out_repeats_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    message = str(call("train", "trainer=ddp", "model.dilations=[1, 2]"))
    assert "-m context_agg.train trainer=ddp 'model.dilations=[1, 2]'" in message
