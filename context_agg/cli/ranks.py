"""Which process of a run this is, as torchrun or srun says; one that is alone is rank 0 of 1.

Rank 0 leads: it alone reads the command line, prints, and writes the run's directory.
"""

import os
import re
import shlex
import sys

from omegaconf import DictConfig

MODULE = "context_agg.train"
PORT = 15_000  # the first of 10,000, below those that systems give out by themselves


def prepare() -> None:
    """Gives what srun says the names that torchrun has for it, which PyTorch and Lightning read.

    Rank 0 listens on the first machine, at a port that follows from the numbers of the job and of
    the step; MASTER_ADDR and MASTER_PORT can name others.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if "RANK" in os.environ or tasks == 1:
        return
    machines = int(os.environ["SLURM_STEP_NUM_NODES"])
    first = re.match(r"([^[,]+)\[?(\d*)", os.environ["SLURM_STEP_NODELIST"])  # n[01-04,7] is n01
    number = int(os.environ["SLURM_JOB_ID"]) + int(os.environ["SLURM_STEP_ID"])
    os.environ["RANK"] = os.environ["SLURM_PROCID"]
    os.environ["WORLD_SIZE"] = str(tasks)
    os.environ["LOCAL_RANK"] = os.environ["SLURM_LOCALID"]
    os.environ["LOCAL_WORLD_SIZE"] = str(tasks // machines)
    os.environ["GROUP_RANK"] = os.environ["SLURM_NODEID"]
    os.environ["GROUP_WORLD_SIZE"] = str(machines)
    os.environ.setdefault("MASTER_ADDR", "".join(first.groups()) if first else "localhost")
    os.environ.setdefault("MASTER_PORT", str(PORT + number % 10_000))


def rank() -> int:
    """The number of this process in its run, from 0."""
    return int(os.environ.get("RANK", 0))


def count() -> int:
    """The number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def on_each_machine() -> int:
    """The number of processes of the run on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def machines() -> int:
    """The number of machines that the run has."""
    return int(os.environ.get("GROUP_WORLD_SIZE", 1))


def leads() -> bool:
    """Whether this process is rank 0."""
    return rank() == 0


def command() -> str:
    """How a run like this one is started, up to its arguments."""
    if count() == 1:
        return f"python -m {MODULE}"
    nodes = f"{machines()} " if machines() > 1 else ""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        where = "--rdzv-backend=c10d --rdzv-endpoint=HOST:PORT "
        nodes = nodes and f"--nnodes={nodes}{where}"
        return f"torchrun {nodes}--nproc-per-node={on_each_machine()} -m {MODULE}"
    nodes = nodes and f"--nodes={nodes}"
    return f"srun {nodes}--ntasks-per-node={on_each_machine()} -K python -m {MODULE}"


def check(cfg: DictConfig, *, swept: bool = False) -> None:
    """Rejects settings that do not go with the processes that have been started.

    Args:
        cfg: configuration of the run.
        swept: whether it is one of a sweep.

    Raises:
        ValueError: if so.
    """
    if cfg.trainer.get("strategy") != "ddp":
        if count() > 1:
            raise ValueError(
                f"{count()} processes have been started, which train together only with "
                "trainer=ddp; add it, or start one"
            )
        return
    if swept:
        raise ValueError(
            "a run of a sweep has one process, so trainer=ddp does not go with -m; leave out "
            "trainer=ddp, or start the runs one by one"
        )
    if "RANK" not in os.environ:
        started = f"-m {MODULE} {shlex.join(sys.argv[1:])}".strip()
        raise ValueError(
            "trainer=ddp needs a process for every device, which torchrun or srun starts: "
            f"torchrun --nproc-per-node=2 {started}, or in a job of Slurm: "
            f"srun --ntasks-per-node=2 -K python {started}"
        )
    if on_each_machine() * machines() != count():
        raise ValueError(
            f"{count()} processes on {machines()} machines: every machine needs the same number of "
            "them, --nproc-per-node=N for torchrun, --ntasks-per-node=N for srun"
        )
    if count() == 1:
        return
    if "gradient_alignment" in cfg.callbacks:
        raise ValueError(
            "callbacks=gradient_alignment compares the gradients of one process; leave out "
            "trainer=ddp, or the callback"
        )
    if (reduction := cfg.loss.get("reduction", "mean")) != "mean":
        raise ValueError(
            f"loss.reduction={reduction}: trainer=ddp needs a mean over the batch; leave it out"
        )
