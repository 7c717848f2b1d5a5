"""A run that was cut off goes on: which run, with which settings, from which checkpoint."""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from context_agg.cli import ranks
from context_agg.cli.no_result import NO_RESULT
from context_agg.cli.values import check_values
from context_agg.runs import checkpoints
from context_agg.runs.build import check_network
from context_agg.runs.directory import BEST, LAST, METRICS, PREVIOUS, SETTINGS
from context_agg.runs.finished import changed_settings
from context_agg.runs.load import check_fit, read_weights
from context_agg.runs.records import check_spec, read_spec
from context_agg.runs.settings import built_from, read_settings, read_unresolved
from context_agg.training.arithmetic import arithmetic
from context_agg.training.learner import Learner

GROWS = "trainer.max_epochs"
STATE = "LastCheckpoint"  # the callback whose state says where a run is
CHECKPOINT = {
    "epoch": int,
    "global_step": int,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
}
"""What a checkpoint must hold, besides the weights, for a run to go on."""

KEPT = {
    "step": int,
    "logged": int,
    "seconds": float,
    "scalars": dict,
    "random": dict,
    "position": dict,
    "arithmetic": dict,
}
"""What the state of `LastCheckpoint` holds."""


def settings(run_dir: Path, overrides: Sequence[str]) -> DictConfig:
    """The configuration of a run, with the changes that do not change what it computes.

    Raises:
        ValueError, FileNotFoundError: if the run cannot be read, or keeps its worst epoch, as it
            could by an earlier version; for another change, naming it.
    """
    checked = read_settings(run_dir)
    best = checked.callbacks.best_checkpoint
    if "mode" in best:
        raise ValueError(
            f"{run_dir} keeps its worst epoch, with callbacks.best_checkpoint.mode={best.mode} for "
            f"monitor={best.monitor}; train a new run"
        )
    with built_from(run_dir):
        check_network(checked, read_spec(run_dir))
    # what follows keeps the interpolations
    cfg = read_unresolved(run_dir)
    try:
        changes = OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise ValueError(f"cannot read {error.override}") from None
    for change in changes:
        key, value = change.key_or_group, change.value()
        stored = OmegaConf.select(cfg, key)
        grows = key == GROWS and isinstance(value, int) and value >= stored
        if grows and value > stored and cfg.get("schedule") is not None:
            raise ValueError(
                f"{GROWS}={value}: the run has a schedule of the learning rate over {stored} "
                "epochs, so it cannot be longer; train a new one"
            )
        if not (grows or key in NO_RESULT or (stored is not None and value == stored)):
            raise ValueError(
                f"{change.input_line} would change the run; with resume=DIR only "
                f"{', '.join(NO_RESULT)} may change, and {GROWS} may grow"
            )
        OmegaConf.update(cfg, key, value)
    check_values(cfg)
    return cfg


@dataclass(frozen=True)
class CutOff:
    """Where a run was cut off.

    Args:
        file: its newest good checkpoint.
        checkpoint: what is in it.
        state: that of `LastCheckpoint` in it.
    """

    file: Path
    checkpoint: dict[str, Any]
    state: dict[str, Any]

    @property
    def logged(self) -> int:
        """The number of steps whose scalars TensorBoard has."""
        return int(self.state["logged"])

    def __str__(self) -> str:
        epoch, batches = self.state["position"]["epoch"], self.state["position"]["batches"]
        return (
            f"after step {self.state['step']:,} (batch {batches:,} of epoch {epoch + 1}), from "
            f"{self.file}"
        )


def cut_off(run_dir: Path, cfg: DictConfig, *, grow: bool = False) -> CutOff | None:
    """Where the run in a directory was cut off; None if it has written no checkpoint.

    A run without one has nothing to lose: it begins again, with any settings.

    Sets the number of threads that the run has had, as its last bits depend on it.

    Raises:
        FileExistsError: if that run had other settings, or none that can be found.
        OSError, ValueError: if its settings or checkpoints are damaged.
    """
    if not any(os.path.lexists(run_dir / name) for name in (BEST, LAST, PREVIOUS, METRICS)):
        return None
    if not os.path.lexists(run_dir / SETTINGS):
        raise FileExistsError(
            f"{run_dir} holds checkpoints, but no {SETTINGS} that says of what; put it back, "
            "or use another directory"
        )
    if changed := changed_settings(run_dir, cfg, grow=grow):
        raise FileExistsError(
            f"{run_dir} holds a run that was cut off, with other settings of {', '.join(changed)}; "
            "delete it, or use another directory"
        )
    if (found := checkpoints.newest(run_dir)) is None:
        if os.path.lexists(run_dir / METRICS):  # a finished run that is to grow
            raise FileNotFoundError(
                f"{run_dir} has no {LAST} to go on from; put it back, or train a new run"
            )
        return None
    file, checkpoint = found
    try:
        state = _state(checkpoint)
    except ValueError as error:
        raise ValueError(
            f"{file} is not a checkpoint to go on from: {error}; delete {run_dir} to train it again"
        ) from error
    if (before := state.get("processes", 1)) != ranks.count():
        raise ValueError(
            f"{run_dir} has been trained by {before} processes together, and now {ranks.count()} "
            f"would go on, with other batches; start {before}, as it began"
        )
    torch.set_num_threads(state["arithmetic"]["threads"])
    return CutOff(file, checkpoint, state)


def _has_best(callback_state: Any) -> bool:
    return isinstance(callback_state, dict) and bool(callback_state.get("best_model_path"))


def _state(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The state that `LastCheckpoint` has kept in a checkpoint, with all that a run goes on with.

    Raises:
        ValueError: if something is missing.
    """
    callbacks = checkpoint.get("callbacks")
    state = callbacks.get(STATE) if isinstance(callbacks, dict) else None
    for where, kinds in ((checkpoint, CHECKPOINT), (state, KEPT)):
        for key, kind in kinds.items():
            if not isinstance(where, dict) or type(where.get(key)) is not kind:
                raise ValueError(f"it has no {key}")
    assert isinstance(state, dict)
    for group, keys in (("position", ("epoch", "batches")), ("arithmetic", ("threads",))):
        for key in keys:
            if type(state[group].get(key)) is not int or state[group][key] < (key == "threads"):
                raise ValueError(f"it has no {group}.{key}")
    return state


def check_same(at: CutOff, learner: Learner, trainer: L.Trainer, *, strict: bool) -> str:
    """Compares a run so far with what it would go on with; says how it goes on.

    Raises:
        ValueError: if the weights do not fit the network, if the run was trained on other data, or
            if it used rules or a kind of device that are not to be had here; with `strict`, for
            any other arithmetic.
    """
    run_dir = at.file.parents[1]
    check_spec(run_dir, learner.spec)
    if any(_has_best(state) for state in at.checkpoint["callbacks"].values()):
        # now, and not only when they are tested, which may be in hours
        check_fit(learner.network, read_weights(run_dir), run_dir)
    try:
        copy.deepcopy(learner).load_state_dict(at.checkpoint["state_dict"])
    except RuntimeError as error:
        _, detail, *_ = str(error).splitlines()
        raise ValueError(f"{at.file} does not fit {SETTINGS}: {detail.strip()}") from None
    device, precision = trainer.strategy.root_device, str(trainer.precision)
    was, now = at.state["arithmetic"], arithmetic(learner, device, precision)
    changed = [name for name in now if now[name] != was.get(name)]
    differences = [f"{name} {now[name]}, not {was.get(name)}" for name in changed]
    if not differences:
        return str(at)
    text = "; ".join(differences)
    if strict or {"rules", "device"} & set(changed):
        raise ValueError(
            f"the run cannot go on as it began: {text}; go on where it began, or train it again"
        )
    return f"{at}; not bit for bit as it began: {text}"
