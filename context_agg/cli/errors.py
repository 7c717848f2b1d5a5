"""A user's mistake as one message without a stack trace."""

from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException, InstantiationException
from lightning.fabric.utilities.exceptions import MisconfigurationException

MISTAKES = (ValueError, TypeError, OSError, MisconfigurationException)


class UserError(CompactHydraException):
    """Hydra prints it as one message and exits with 1; HYDRA_FULL_ERROR=1 shows the trace."""


@contextmanager
def one_message() -> Iterator[None]:
    """Around what checks and builds, before any work is done: refusals become `UserError`s.

    Whatever a constructor named in the configuration refuses is called after the part of the
    configuration that it was built from.
    """
    try:
        yield
    except InstantiationException as error:
        if not isinstance(error.__cause__, MISTAKES):
            raise
        *_, part = str(error).splitlines()  # "full_key: model"
        raise UserError(f"{part.removeprefix('full_key: ')}: {error.__cause__}") from error
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
