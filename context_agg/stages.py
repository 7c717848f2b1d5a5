"""Training in stages: a run begins with the weights of an earlier one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import nn

from context_agg.data.images import DataSpec
from context_agg.trained import read_spec, read_weights


def start_from(network: nn.Module, spec: DataSpec, run_dir: Path, fresh: Sequence[str]) -> None:
    """Puts a run's best weights into a network, but for the parts that begin anew.

    What the run has trained and what begins anew must be the whole network and not overlap: so a
    stage that is fed with the run of another stage is refused.

    Args:
        network: of this run, just built.
        spec: of this run's data.
        run_dir: directory of the earlier run.
        fresh: parts of the network that begin anew, such as "context".

    Raises:
        FileNotFoundError: if the directory holds no trained run.
        ValueError: if the run does not fit; nothing has been changed then.
    """
    trained_on, weights = read_spec(run_dir), read_weights(run_dir)
    for name in ("dense", "in_channels", "classes"):
        ours, theirs = getattr(spec, name), getattr(trained_on, name)
        if ours != theirs:
            raise ValueError(
                f"start_from={run_dir}: the run has been trained on {trained_on.name} with "
                f"{name}={theirs}; these data, {spec.name}, have {name}={ours}"
            )
    own = network.state_dict()
    kept = {key for key in own if not key.startswith(tuple(f"{part}." for part in fresh))}
    for key in sorted(kept & weights.keys()):
        if own[key].shape != weights[key].shape:
            raise ValueError(
                f"start_from={run_dir}: {key} is {tuple(weights[key].shape)} there and "
                f"{tuple(own[key].shape)} here; the two networks must be made alike"
            )
    missing, extra = kept - weights.keys(), weights.keys() - kept
    if unlike := _parts(missing) & _parts(weights) or _parts(extra) & _parts(kept):
        raise ValueError(
            f"start_from={run_dir}: {', '.join(sorted(unlike))} has other layers there; the two "
            "networks must be made alike"
        )
    if missing:
        names = ", ".join(sorted(_parts(missing)))
        raise ValueError(
            f"start_from={run_dir}: the run has no {names}, which this network has; name the run "
            f"of a later stage, or let that begin anew with fresh=[{names}]"
        )
    if extra:
        known = "begins anew here" if extra <= own.keys() else "this network does not have"
        raise ValueError(
            f"start_from={run_dir}: the run has trained {', '.join(sorted(_parts(extra)))} too, "
            f"which {known}; name the run of an earlier stage"
        )
    network.load_state_dict({**own, **weights})


def _parts(keys: Iterable[str]) -> set[str]:
    return {key.split(".")[0] for key in keys}
