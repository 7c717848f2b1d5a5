"""Training in stages: a run begins with the weights of an earlier one."""

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from context_agg.data.spec import DataSpec
from context_agg.runs.directory import read_spec
from context_agg.runs.load import read_settings, read_weights

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
    parts = {name for name, _ in network.named_children()}
    if unknown := fresh - parts:
        raise ValueError(f"fresh={unknown.pop()}: the parts of this network are {_list(parts)}")
    start = f"start_from={run_dir}: the run has"
    settings, trained_on = read_settings(run_dir), read_spec(run_dir)
    weights = read_weights(run_dir)
    for name in ("dense", "in_channels", "classes"):
        ours, theirs = getattr(spec, name), getattr(trained_on, name)
        if ours != theirs:
            raise ValueError(
                f"{start} been trained on {trained_on.name} with {name}={theirs}; these data, "
                f"{spec.name}, have {name}={ours}"
            )
    if over := _parts(weights) & fresh:
        raise ValueError(
            f"{start} trained {_list(over)} too, which begins anew here; name the run of an "
            "earlier stage"
        )
    try:
        missing, extra = copy.deepcopy(network).load_state_dict(weights, strict=False)
    except RuntimeError as error:
        _, detail, *_ = str(error).splitlines()
        raise ValueError(f"{start} a layer of another size: {detail.strip()}") from None
    if other := _parts(missing) & _parts(weights) | _parts(extra) & parts:
        raise ValueError(f"{start} other layers in {_list(other)}; make both networks alike")
    if extra:
        raise ValueError(
            f"{start} trained {_list(_parts(extra))} too, which this network does not have; name "
            "the run of an earlier stage"
        )
    if absent := _parts(missing) - fresh:
        raise ValueError(
            f"{start} no {_list(absent)}, which this network has; name the run of a later stage, "
            f"or let that begin anew with fresh=[{_list(absent)}]"
        )
    for key, ours, theirs in _differences(cfg, settings, context_kept="context" not in fresh):
        raise ValueError(f"{start} {key}={theirs}, this one {ours}; say {key}={theirs}")
    network.load_state_dict(weights, strict=False)


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


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
