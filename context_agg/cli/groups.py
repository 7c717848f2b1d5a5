"""The groups of the configuration and their choices: the folders and files of conf/."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

from hydra.errors import MissingConfigException

from context_agg.cli.compose import CONF

HYDRA = "hydra"  # the folder with choices for groups of Hydra's own, such as hydra/launcher
SLURM = "hydra/launcher/submitit_slurm"


def groups() -> list[str]:
    """The names of all groups."""
    folders = (folder for folder in CONF.iterdir() if folder.is_dir())
    return sorted(folder.name for folder in folders if folder.name != HYDRA)


def choices(group: str, folders: Iterable[Path] = (CONF,)) -> list[str]:
    """The choices of a group in these folders; one in a folder of its own is FOLDER/NAME."""
    files = (file for folder in folders for file in (folder / group).rglob("*.yaml"))
    return sorted({file.as_posix().partition(f"/{group}/")[2][: -len(".yaml")] for file in files})


def unknown_choice(error: MissingConfigException, folders: Iterable[Path]) -> str:
    """What to say of a choice that there is no file for."""
    path = error.missing_cfg_file or ""
    if path == SLURM:
        return (
            "hydra/launcher=slurm needs hydra-submitit-launcher: pip install "
            "hydra-submitit-launcher (in a clone, '.[slurm]')"
        )
    group, _, name = path.partition("/")
    if group != HYDRA and (names := choices(group, folders)):
        nearest = get_close_matches(name, names, 1)
    else:  # a group of Hydra's own
        group, _, name = path.rpartition("/")
        names = list(error.options or ())
        nearest = get_close_matches(name, names, 1)
    if not names:
        return str(error)
    meant = f" did you mean {group}={nearest[0]}?" if nearest else ""
    return f"unknown {group}={name};{meant} the choices are {', '.join(names)}"
