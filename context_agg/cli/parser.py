"""The parser of the commands that take paths, which Hydra's grammar does not allow."""

import argparse


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Returns a parser whose program name is `python -m context_agg.NAME`."""
    return argparse.ArgumentParser(
        prog=f"python -m context_agg.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
