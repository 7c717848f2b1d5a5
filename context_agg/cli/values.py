"""Checks values that are passed to libraries, before anything is built from them.

The libraries would accept wrong values, or reject them without naming the key. The constructors
of this package check their own arguments.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf

from context_agg.ops import get_conv_op
from context_agg.ops.checks import is_number, is_whole

Check = Callable[[Any], bool]


def whole(least: int) -> Check:
    """A check for a whole number, `least` or more."""
    return partial(is_whole, least=least)


def is_bool(value: object) -> bool:
    """Whether the value is true or false."""
    return isinstance(value, bool)


def names(value: object) -> bool:
    """Whether the value is a list of words."""
    return isinstance(value, ListConfig) and all(isinstance(name, str) for name in value)


def share(value: object) -> bool:
    """Whether it is a share of an epoch: a fraction up to 1.0, or a whole number of batches."""
    return whole(1)(value) or (isinstance(value, float) and 0 < value <= 1)


def one_of(*choices: str | None) -> Check:
    """A check for one of these words."""
    return lambda value: value in choices


PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
A_SHARE = "a fraction of the batches (such as 0.1, up to 1.0) or a whole number (1, 2, ...)"
CHECKS: Sequence[tuple[str, Check, str]] = (
    ("op", lambda v: v is None or isinstance(v, str), "package.module:function"),
    ("inputs", lambda v: v is None or isinstance(v, str), "package.module:function"),
    ("reference", lambda v: v is None or isinstance(v, str), "package.module:function"),
    ("format", one_of("text", "json"), "text or json"),
    ("tolerance", lambda v: v is None or (is_number(v) and v > 0), "a number above 0, or null"),
    ("float32_tolerance", lambda v: is_number(v) and v > 0, "a number above 0"),
    ("second_order", is_bool, "true or false"),
    ("seed", lambda v: whole(0)(v) and v < 2**32, "a whole number from 0 to 4294967295"),
    ("data.seed", lambda v: whole(0)(v) and v < 2**32, "a whole number from 0 to 4294967295"),
    ("images", whole(1), "a whole number, 1 or more"),
    (
        "start_from",
        lambda v: v is None or (isinstance(v, str) and v != ""),
        "the directory of a run: start_from=DIR",
    ),
    ("fresh", names, "a list of parts of the network: [] or [context]"),
    ("frozen", names, "a list of parts of the network: [] or [context]"),
    ("compile", is_bool, "true or false"),
    ("determinism", one_of("seeded", "strict"), "seeded or strict"),
    (
        "checkpoint.every_minutes",
        lambda v: is_number(v) and v >= 0,
        "a number of minutes, 0 or more",
    ),
    (
        "checkpoint.every_steps",
        lambda v: v is None or whole(1)(v),
        "a whole number of steps, 1 or more, or null",
    ),
    ("optimizer.lr", lambda v: is_number(v) and v > 0, "a number above 0"),
    ("optimizer.eps", lambda v: is_number(v) and v >= 0, "a number, 0 or more"),
    ("optimizer.momentum", lambda v: is_number(v) and 0 <= v < 1, "a number from 0 to below 1"),
    ("optimizer.weight_decay", lambda v: is_number(v) and v >= 0, "a number, 0 or more"),
    ("callbacks.random_gradients.parts", names, "a list of parts of the network: [context]"),
    ("trainer.max_epochs", whole(1), "a whole number, 1 or more"),
    ("trainer.devices", lambda v: v == 1, "1: a process uses one device"),
    ("trainer.strategy", one_of("ddp"), "ddp"),
    ("trainer.accumulate_grad_batches", whole(1), "a whole number, 1 or more"),
    (
        "trainer.gradient_clip_val",
        lambda v: v is None or (is_number(v) and v > 0),
        "a number above 0",
    ),
    ("trainer.detect_anomaly", is_bool, "true or false"),
    ("trainer.benchmark", is_bool, "true or false"),
    ("trainer.enable_model_summary", is_bool, "true or false"),
    ("trainer.log_every_n_steps", whole(1), "a whole number, 1 or more"),
    ("trainer.num_sanity_val_steps", whole(0), "a whole number, 0 or more"),
    ("trainer.accelerator", one_of("auto", "cpu", "cuda"), "one of auto, cpu, cuda"),
    ("trainer.precision", one_of(*PRECISIONS), f"one of {', '.join(PRECISIONS)}"),
    ("trainer.limit_train_batches", share, A_SHARE),
    ("trainer.limit_val_batches", share, A_SHARE),
    ("trainer.limit_test_batches", share, A_SHARE),
)


def check_values(cfg: DictConfig) -> None:
    """Checks the values of a run that is to be computed on this machine.

    Raises:
        ValueError: as `check_settings`; for CUDA where there is none.
    """
    check_settings(cfg)
    if cfg.trainer.accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "trainer.accelerator=cuda: there is no CUDA device here (or this torch is built "
            "without CUDA); use trainer.accelerator=cpu, or auto for CUDA if it is available"
        )


def check_settings(cfg: DictConfig) -> None:
    """Checks the values that are present against `CHECKS`, wherever the run was computed.

    Raises:
        ValueError: for the first wrong value, naming the key, the value and what it must be.
    """
    if not (cfg.backprop == "all" and "op" in cfg):  # `check` compares them all
        get_conv_op(cfg.backprop)
    for key, is_right, requirement in CHECKS:
        group, _, name = key.rpartition(".")
        node = OmegaConf.select(cfg, group) if group else cfg
        if isinstance(node, DictConfig) and name in node and not is_right(node[name]):
            raise ValueError(f"{key}={node[name]} must be {requirement}")
    if cfg.get("front_end") is not None and "front_end" not in cfg.model:
        raise ValueError("front_end: this model has no front end; leave it out, or use model=basic")
    if cfg.get("fresh") and cfg.get("start_from") is None:
        raise ValueError(f"fresh={cfg.fresh} has no effect without start_from=DIR")


def check_device(cfg: DictConfig) -> None:
    """Rejects a precision that the device of a new run would silently replace by another.

    Raises:
        ValueError: for 16-mixed on the CPU.
    """
    on_cpu = cfg.trainer.accelerator == "cpu" or not torch.cuda.is_available()
    if on_cpu and cfg.trainer.precision == "16-mixed":
        raise ValueError(
            "trainer.precision=16-mixed needs a CUDA device; on the CPU use "
            "trainer.precision=bf16-mixed or trainer.precision=32-true"
        )
