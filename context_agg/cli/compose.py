"""Where the configuration is."""

from pathlib import Path

CONF = Path(__file__).parents[2] / "conf"
CONFIG_NAME = "train"
