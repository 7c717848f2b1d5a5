"""Reports a user's mistake as one message without a stack trace."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException, InstantiationException


class UserError(CompactHydraException):
    """Hydra prints this error as one message and exits with 1; HYDRA_FULL_ERROR=1 adds a trace."""


@contextmanager
def one_message() -> Iterator[None]:
    """Turns errors of checks and constructors into `UserError`s, before any work is done.

    If a constructor that the configuration names fails, the message starts with the part of the
    configuration that it was built from.
    """
    try:
        yield
    except InstantiationException as error:
        if not _is_refusal(error.__cause__):
            raise
        *_, part = str(error).splitlines()  # "full_key: model"
        raise UserError(f"{part.removeprefix('full_key: ')}: {error.__cause__}") from error
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error


@contextmanager
def exit_on_mistake() -> Iterator[None]:
    """Turns a user's mistake in a command into its message and exit code 1."""
    try:
        yield
    except (UserError, ValueError, OSError) as error:
        sys.exit(str(error))


def _is_refusal(error: BaseException | None) -> bool:
    from lightning.fabric.utilities.exceptions import MisconfigurationException  # takes seconds

    return isinstance(error, ValueError | TypeError | OSError | MisconfigurationException)
