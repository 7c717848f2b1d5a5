"""Reads a command line in the form that Hydra takes: options, then KEY=VALUE arguments."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from context_agg.cli.groups import choices, groups
from context_agg.cli.hints import composed_keys, nearest_key

FORM = "settings are given as KEY=VALUE, without dashes"  # trainer.max_epochs=3, not --epochs 3
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
KEY = re.compile(r"[+~]*[\w.@:/-]+", re.ASCII)


def parse_arguments(arguments: Sequence[str], command: str) -> argparse.Namespace:
    """Returns Hydra's options, and in `overrides` what is to be changed in the configuration.

    Raises:
        SystemExit: for an unknown option, and for arguments that Hydra could not read.
    """
    given, rest = _parser(command).parse_known_args(arguments)
    for argument in rest:
        if argument.startswith("-"):
            name, _, value = argument.lstrip("-").partition("=")
            following = [*arguments, ""][arguments.index(argument) + 1]
            if not value and following and following[0] != "-" and "=" not in following:
                value = following
            meant = nearest_key(name.replace("-", "_"), composed_keys(command))
            example = f": {meant}={value or 'VALUE'}" if meant else ""
            raise SystemExit(f"unknown option {argument}: {FORM}{example}")
    if rest:
        options = [argument for argument in arguments if argument.startswith("-")]
        raise SystemExit(
            f"cannot read {rest[0]} behind {options[-1]}: put {' '.join(options)} before all "
            "KEY=VALUE arguments"
        )
    if given.config_dir is not None and not Path(given.config_dir).is_dir():
        raise SystemExit(f"--config-dir {given.config_dir}: there is no such folder")
    if given.resolve and not (given.cfg or given.help):
        raise SystemExit("--resolve goes with --cfg: --cfg job --resolve")
    for line in given.overrides:
        _check_form(line, command)
    return given


def _parser(command: str) -> argparse.ArgumentParser:
    """Hydra's own options, none of which can be shortened.

    Those that replace the configuration whose keys we know, such as --config-name, are left out.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m context_agg.{command}",
        usage="%(prog)s [--help] [--multirun] [--config-dir DIR] [--cfg job] [KEY=VALUE ...]",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("overrides", nargs="*")
    for names in (["--help", "-h"], ["--version"], ["--resolve"]):
        parser.add_argument(*names, action="store_true")
    parser.add_argument("--config-dir", "-cd")
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument("--multirun", "-m", action="store_true")
    modes.add_argument("--cfg", "-c", choices=("job", "hydra", "all"))
    modes.add_argument("--info", "-i", nargs="?", const="all", choices=INFO)
    return parser


def _check_form(line: str, command: str) -> None:
    """Rejects an argument that Hydra cannot read, and says how to write it."""
    key, equals, value = line.partition("=")
    if not equals and not line.startswith("~"):
        raise SystemExit(_without_value(line, command))
    if not KEY.fullmatch(key):
        raise SystemExit(f"cannot read {line}: {key!r} is not a key; {FORM}")
    try:
        OverridesParser.create().parse_override(line)
    except HydraException:
        if any(value.count(left) != value.count(right) for left, right in ("[]", "{}", "()")):
            raise SystemExit(f"cannot read {line}: a bracket is missing") from None
        quoted = value.strip("'\"").replace("'", r"\'")
        raise SystemExit(
            f"cannot read {line}; a value with a =, a comma, a space or a letter outside ASCII "
            f"""needs quotes, and the shell takes a pair away: "{key}='{quoted}'\""""
        ) from None


def _without_value(word: str, command: str) -> str:
    """What to say of an argument that has no =."""
    settings = [f"{group}={word}" for group in groups() if word in choices(group)]
    if not settings and word in _backprops():
        settings = [f"backprop={word}"]
    if settings:
        return f"{word} is not KEY=VALUE; did you mean {' or '.join(settings)}?"
    if word in groups():
        return f"{word} needs a value, such as {word}={choices(word)[0]}"
    example = f", such as {key}=VALUE" if (key := nearest_key(word, composed_keys(command))) else ""
    return f"{word} is not a setting: {FORM}{example}"


def _backprops() -> Sequence[str]:
    from context_agg.ops import CONV_OPS  # torch: only if no file has that name

    return tuple(CONV_OPS)
