"""Where the configuration is."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
INSTALLED = PACKAGE / "conf"  # the wheel carries it there
CONF = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / "conf"
CONFIG_NAME = "train"
