"""Training in stages: a run begins with the weights of an earlier one."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from context_agg.data.spec import DataSpec
from context_agg.runs.load import read_settings, read_spec, read_weights

ONLY_AT_THE_START = {"init", "init_std", "backprop"}  # settings that weights do not depend on


def start_from(cfg: DictConfig, network: nn.Module, spec: DataSpec) -> None:
    """Puts the best weights of the run `cfg.start_from` into a network, if it names one.

    What the run has trained and what begins anew (`cfg.fresh`) must be the whole network and not
    overlap: so a stage that is fed with the run of another stage is refused. What is kept must have
    been trained with the same settings; what a front end adds to its class maps may change before a
    new context module.

    Args:
        cfg: of this run.
        network: of this run, just built.
        spec: of this run's data.

    Raises:
        FileNotFoundError: if the directory holds no trained run.
        ValueError: if the run does not fit; nothing has been changed then.
    """
    if cfg.start_from is None:
        return
    run_dir, fresh = Path(cfg.start_from), set(cfg.fresh)
    start = f"start_from={run_dir}:"
    if unknown := fresh - {name for name, _ in network.named_children()}:
        names = ", ".join(name for name, _ in network.named_children())
        raise ValueError(f"fresh={unknown.pop()}: the parts of this network are {names}")
    settings, trained_on, weights = (
        read_settings(run_dir),
        read_spec(run_dir),
        read_weights(run_dir),
    )
    for name in ("dense", "in_channels", "classes"):
        ours, theirs = getattr(spec, name), getattr(trained_on, name)
        if ours != theirs:
            raise ValueError(
                f"{start} the run has been trained on {trained_on.name} with {name}={theirs}; "
                f"these data, {spec.name}, have {name}={ours}"
            )
    own = network.state_dict()
    kept = {key for key in own if key.split(".")[0] not in fresh}
    for key in sorted(kept & weights.keys()):
        if own[key].shape != weights[key].shape:
            raise ValueError(
                f"{start} {key} is {tuple(weights[key].shape)} there and {tuple(own[key].shape)} "
                "here; the two networks must be made alike"
            )
    if unlike := _parts(kept - weights.keys()) & _parts(weights):
        raise ValueError(
            f"{start} {', '.join(sorted(unlike))} has other layers there; the two networks must be "
            "made alike"
        )
    if missing := ", ".join(sorted(_parts(kept - weights.keys()))):
        raise ValueError(
            f"{start} the run has no {missing}, which this network has; name the run of a later "
            f"stage, or let that begin anew with fresh=[{missing}]"
        )
    if extra := weights.keys() - kept:
        known = "begins anew here" if extra <= own.keys() else "this network does not have"
        raise ValueError(
            f"{start} the run has trained {', '.join(sorted(_parts(extra)))} too, which {known}; "
            "name the run of an earlier stage"
        )
    for key, ours, theirs in _differences(cfg, settings, context_kept="context" not in fresh):
        raise ValueError(f"{start} the run has {key}={theirs}, this one {ours}; say {key}={theirs}")
    network.load_state_dict({**own, **weights})


def _differences(
    cfg: DictConfig, settings: DictConfig, *, context_kept: bool
) -> Iterator[tuple[str, object, object]]:
    """Settings of front end and context module that both runs have, and have not alike."""
    for group in ("front_end", "model") if context_kept else ("front_end",):
        ours, theirs = cfg.get(group) or {}, settings.get(group) or {}
        both = (ours.keys() & theirs.keys()) - ONLY_AT_THE_START - {"front_end", "_target_"}
        for name in sorted(both):
            may_change = name == "lift" and not context_kept
            if ours[name] != theirs[name] and not may_change:
                yield f"{group}.{name}", ours[name], theirs[name]


def _parts(keys: Iterable[str]) -> set[str]:
    return {key.split(".")[0] for key in keys}
