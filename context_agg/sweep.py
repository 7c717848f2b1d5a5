"""Names the run directories of a sweep after what varies in it."""

import re
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf


def run_name(varied: str, seed: int) -> str:
    """`backprop=auto,model.init=normal` and 0 -> `backprop-auto,...` as a path without `=` or `,`.

    The result is "what-varies/seed-0", or "seed-0" where nothing but the seed does.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", varied.replace(",", "_")).strip("-")
    return f"{name}/seed-{seed}" if name else f"seed-{seed}"


OmegaConf.register_new_resolver("run_name", run_name, replace=True)


class NameRuns(Callback):
    """Keeps what is the same for all runs of a sweep out of the names of their directories."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        constant = [o.key_or_group for o in overrides if not o.is_sweep_override()]
        excluded = ",".join(dict.fromkeys(["seed", *constant]))
        # Each job composes its configuration from these overrides and its own.
        config.hydra.overrides.hydra.append(
            f"hydra.job.config.override_dirname.exclude_keys=[{excluded}]"
        )
