"""Which check catches which wrong backward pass: the table of `check backprop=all`."""

from collections.abc import Iterator

import torch
from omegaconf import DictConfig, OmegaConf

from context_agg.callbacks.overfit import NotOverfit, OverfitOneBatch
from context_agg.gradients.agreement import network_alignment
from context_agg.gradients.finite_differences import gradcheck_failures, gradcheck_operands
from context_agg.ops import CONV_OPS
from context_agg.runs.build import build, build_trainer

CHECKS = (
    "gradcheck, dilation 1",
    "gradcheck, dilation 2",
    "cosine, identity",
    "cosine, normal",
    "overfit one batch",
    "accuracy after one epoch",
)
ALIGNED = 0.99  # a lower cosine of any parameter counts as caught
OVERFIT_LOSS, OVERFIT_STEPS = 0.01, 200
SEEDS = (0, 1, 2)

Row = dict[str, str]
"""A cell for "rule" and one for each of `CHECKS`; a check that catches the rule is bold."""


def catch_rows(cfg: DictConfig) -> Iterator[Row]:
    """Makes a row per name in `CONV_OPS`; the others are compared with the first, autograd.

    The cosine check, on one batch at the start, catches a rule if the lowest cosine of all
    parameters is below 0.99; overfitting, if the loss of one batch is not down to 0.01 in 200
    steps; the accuracy, if all three seeds are below all of autograd's.

    Raises:
        ValueError: for a configuration that the table does not support, before the first row.
    """
    if "init" not in cfg.model:
        raise ValueError("backprop=all compares initialisations; use model=basic or large")
    if cfg.start_from is not None:
        raise ValueError(f"backprop=all trains from scratch; leave out start_from={cfg.start_from}")
    build(_with(cfg, "backprop=auto"))
    return _rows(cfg)


def _rows(cfg: DictConfig) -> Iterator[Row]:
    yardstick: list[float] = []
    for rule in CONV_OPS:
        row = {"rule": f"`{rule}`"}
        for dilation, check in ((1, CHECKS[0]), (2, CHECKS[1])):
            operands = gradcheck_operands((7, 7), torch.device("cpu"))
            failures = gradcheck_failures(CONV_OPS[rule], operands, dilation)
            row[check] = _cell(", ".join(failures) or "passes", bool(failures))
        for init, check in (("identity", CHECKS[2]), ("normal", CHECKS[3])):
            cosine = lowest_cosine(_with(cfg, f"backprop={rule}", f"model.init={init}"))
            text = f"{cosine:.2f}" if cosine == cosine else "no gradient"
            row[check] = _cell(text, cosine < ALIGNED)
        steps = overfit_steps(_with(cfg, f"backprop={rule}"))
        row[CHECKS[4]] = _cell(f"{steps} steps" if steps else "stuck", not steps)
        accuracies = [
            accuracy_after_one_epoch(_with(cfg, f"backprop={rule}", f"seed={seed}"))
            for seed in SEEDS
        ]
        yardstick = yardstick or accuracies
        mean = sum(accuracies) / len(accuracies)
        row[CHECKS[5]] = _cell(f"{mean:.3f}", max(accuracies) < min(yardstick))
        yield row


def _cell(text: str, caught: bool) -> str:
    return f"**{text}**" if caught else text


def _with(cfg: DictConfig, *overrides: str) -> DictConfig:
    changed = OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(overrides)))
    assert isinstance(changed, DictConfig)
    return changed


def lowest_cosine(cfg: DictConfig) -> float:
    """The lowest cosine of all parameters with a true gradient, on a first batch, in float64."""
    data, learner = build(cfg)
    learner.double()
    x, target = data.train.batch(slice(cfg.images), torch.float64)
    alignments = network_alignment(learner.network, learner.loss, x, target)
    cosines = [alignment.cosine for alignment in alignments.values()]
    return min((cosine for cosine in cosines if cosine == cosine), default=float("nan"))


def overfit_steps(cfg: DictConfig) -> int | None:
    """Steps until the loss of one batch is 0.01; None if 200 are not enough."""
    cfg = _with(cfg, f"trainer.max_epochs={OVERFIT_STEPS}", "trainer.limit_val_batches=1")
    data, learner = build(cfg)
    options = {"logger": False, "enable_checkpointing": False}
    trainer = build_trainer(cfg, callbacks=[OverfitOneBatch(OVERFIT_LOSS)], **options)
    try:
        trainer.fit(learner, data)
    except NotOverfit:
        return None
    return trainer.global_step


def accuracy_after_one_epoch(cfg: DictConfig) -> float:
    """The accuracy on the held-out images after one epoch of training."""
    cfg = _with(cfg, "trainer.max_epochs=1")
    data, learner = build(cfg)
    trainer = build_trainer(cfg, logger=False, enable_checkpointing=False)
    trainer.fit(learner, data)
    return float(trainer.callback_metrics["val/accuracy"])
