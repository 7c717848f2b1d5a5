"""Where the configuration is, and the one way to compose it outside a running command."""

from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

PACKAGE = Path(__file__).parents[1]
INSTALLED = PACKAGE / "conf"  # a wheel has it here; the repository has it beside the package
CONF = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "conf"
COMMAND = "train"  # conf/train.yaml


def compose_config(
    *overrides: str, command: str = COMMAND, config_dir: str | None = None, hydra: bool = False
) -> DictConfig:
    """Composes the configuration that a command line describes.

    Args:
        overrides: as on the command line, such as "model=large".
        command: "train" or "check": whose defaults to use.
        config_dir: a folder of the user whose groups are added to those of conf/.
        hydra: whether the result also holds Hydra's own configuration, as `cfg.hydra`.

    Raises:
        HydraException: for an override that conf/ does not know.
    """
    path = []
    if config_dir is not None:
        folder = str(Path(config_dir).absolute()).replace("'", r"\'")
        path = [f"hydra.searchpath=['file://{folder}']"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, [*path, *overrides], return_hydra_config=hydra)


@cache
def composed_once(*overrides: str, command: str = COMMAND) -> DictConfig:
    """The configuration that `compose_config` makes of conf/ alone, to be read only.

    Composing takes a quarter of a second, and a command line is compared with the same few.
    """
    cfg = compose_config(*overrides, command=command)
    OmegaConf.set_readonly(cfg, True)
    return cfg
