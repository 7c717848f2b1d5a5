"""Schedules of the learning rate: PyTorch's and a user's own."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LinearLR, LRScheduler, SequentialLR

from context_agg.cli.compose import compose_config
from context_agg.runs.build import check_parts
from context_agg.runs.schedule import make_schedule
from tests.tiny_run import TINY, run

TORCH = "torch.optim.lr_scheduler."


def warmup(optimizer: Optimizer, warm: int, total_steps: int) -> LRScheduler:
    """Rises for some steps, and then falls to 0 at the last one."""
    if warm >= total_steps:
        raise ValueError(f"warm={warm} must be less than the {total_steps} steps of the run")
    rises = LinearLR(optimizer, 1 / warm, total_iters=warm)
    falls = LinearLR(optimizer, 1, 0, total_iters=total_steps - warm)
    return SequentialLR(optimizer, [rises, falls], [warm])


def rates(settings: dict[str, Any], steps: int = 8) -> list[float]:
    """The learning rates before each step and after the last, of an optimizer with rate 1."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0, momentum=0.9)
    schedule = make_schedule(OmegaConf.create(settings), optimizer, steps)
    assert schedule is not None
    found = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        found.append(optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize(
    ("target", "options", "wanted"),
    [
        ("ExponentialLR", {"gamma": 0.5}, [0.5**n for n in range(9)]),
        ("StepLR", {"step_size": 4}, [1] * 4 + [0.1] * 4 + [0.01]),
        ("MultiStepLR", {"milestones": [2, 5], "gamma": 0.5}, [1] * 2 + [0.5] * 3 + [0.25] * 4),
        ("ConstantLR", {"factor": 0.5, "total_iters": 3}, [0.5] * 3 + [1] * 6),
        ("LinearLR", {"start_factor": 0.5, "total_iters": 2}, [0.5, 0.75] + [1] * 7),
        ("PolynomialLR", {"total_iters": 4}, [1, 0.75, 0.5, 0.25] + [0] * 5),
        ("CosineAnnealingWarmRestarts", {"T_0": 2}, [1, 0.5] * 4 + [1]),
        ("CyclicLR", {"base_lr": 0, "max_lr": 1, "step_size_up": 2}, [0, 0.5, 1, 0.5] * 2 + [0]),
        ("CosineAnnealingLR", {"T_max": 2}, [1, 0.5, 0, 0.5] * 2 + [1]),
    ],
)
def test_one_of_torch_s_has_just_its_own_arguments(
    target: str, options: dict[str, Any], wanted: list[float]
) -> None:
    assert rates({"_target_": TORCH + target, **options}) == pytest.approx(wanted)


@pytest.mark.parametrize("options", [{}, {"T_max": None}, {"_partial_": True}])
def test_the_number_of_steps_is_given_where_an_argument_means_it(options: dict[str, Any]) -> None:
    cosine = rates({"_target_": f"{TORCH}CosineAnnealingLR", **options})
    assert cosine[4] == pytest.approx(0.5)
    assert cosine[8] == pytest.approx(0)
    one_cycle = rates({"_target_": f"{TORCH}OneCycleLR", "max_lr": 2, "pct_start": 0.5})
    assert max(one_cycle) == pytest.approx(2)
    assert one_cycle[7] < 0.001
    own = rates({"_target_": "tests.runs.test_schedule.warmup", "warm": 2})
    assert own == pytest.approx([0.5, 0.75] + [1 - n / 6 for n in range(7)])


def test_a_run_has_the_steps_that_lightning_takes(tmp_path: Path) -> None:
    """10 batches of an epoch in threes are 4 steps; the last rate is 0 after two epochs."""
    run(tmp_path, "schedule=cosine", "+trainer.accumulate_grad_batches=3")
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    (scheduler,) = checkpoint["lr_schedulers"]
    assert (checkpoint["global_step"], scheduler["T_max"], scheduler["last_epoch"]) == (8, 8, 8)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["_target_=tests.runs.test_schedule.warmup", "warm=20"], "less than the 20 steps"),
        ([f"_target_={TORCH}StepLR"], "step_size"),
        ([f"_target_={TORCH}ReduceLROnPlateau"], "needs a score at every step"),
        (["_target_=torch.nn.Identity"], "gives Identity, not LRScheduler"),
    ],
)
def test_one_that_cannot_be_is_refused_before_a_sweep(options: list[str], says: str) -> None:
    keys = [f"++schedule.{option}" for option in options]
    with pytest.raises(Exception, match=says):
        check_parts([compose_config(*TINY, "trainer.max_epochs=2", "schedule=cosine", *keys)])
