"""Where the configuration is, and the one way to compose it outside a running command."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

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
