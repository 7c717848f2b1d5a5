"""Makes the schedule of the learning rate."""

import inspect
from collections.abc import Container

from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from context_agg.runs.parts import make

STEPS = ("T_max", "total_steps")
"""What arguments are called that mean the number of steps of the whole run."""


def make_schedule(
    cfg: DictConfig | None, optimizer: Optimizer, num_steps: int
) -> LRScheduler | None:
    """Makes the scheduler that `cfg` names; None if it is None.

    It gets the number of steps only as an argument of `STEPS` that it takes and `cfg` does not set.

    Args:
        cfg: the settings of the schedule.
        optimizer: whose learning rate it changes.
        num_steps: of the whole run.

    Raises:
        ValueError: if it is no scheduler, or one that needs a score at every step.
        InstantiationException: for a value that it rejects.
    """
    if cfg is None:
        return None
    takes = _arguments(cfg)
    given = {name: num_steps for name in STEPS if name in takes and cfg.get(name) is None}
    # `_partial_` in its file says that the optimizer comes later, which is now
    scheduler = make(LRScheduler, "schedule", cfg, optimizer, **given, _partial_=False)
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            f"schedule: {cfg._target_} needs a score at every step, and a run has one per epoch; "
            "choose another, such as schedule=cosine"
        )
    return scheduler


def _arguments(cfg: DictConfig) -> Container[str]:
    try:
        return inspect.signature(instantiate(cfg, _partial_=True).func).parameters
    except ValueError:  # a builtin: no scheduler, as `make` says
        return ()
