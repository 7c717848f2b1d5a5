"""A user's mistake ends a command with one message, a closed pipe silently: no stack trace."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from hydra.errors import CompactHydraException, InstantiationException

INTERRUPTED = 130  # 128 + the number of SIGINT
CLOSED_PIPE = 141  # what shells report of a program that SIGPIPE has ended: 128 + 13


class UserError(CompactHydraException):
    """Ends a command with one message and exit code 1; HYDRA_FULL_ERROR=1 adds a trace."""


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
        said = " ".join(str(error.__cause__).split())  # in one line
        raise UserError(f"{part.removeprefix('full_key: ')}: {said}") from error
    except (ValueError, OSError) as error:
        raise UserError(sentence(error)) from error


@contextmanager
def exit_without_hydra() -> Iterator[None]:
    """Ends a command that Hydra calls with the message of a `UserError` alone.

    Hydra would put lines of its own around it. With HYDRA_FULL_ERROR=1 it prints the trace.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        sys.exit(str(error))


@contextmanager
def exit_on_closed_pipe() -> Iterator[None]:
    """Ends the process silently if nobody reads its output any more, as after `| head -1`.

    Ends it with one message if its output cannot be written, as on a full disk.
    """
    try:
        yield
    except BaseException as error:
        if isinstance(error, BrokenPipeError) or isinstance(_flush(), BrokenPipeError):
            _flush()
            sys.exit(CLOSED_PIPE)
        raise
    if isinstance(problem := _flush(), BrokenPipeError):
        sys.exit(CLOSED_PIPE)
    if problem:
        sys.exit(f"cannot print: {problem.strerror}")


@contextmanager
def exit_on_mistake() -> Iterator[None]:
    """Turns a user's mistake in a command into its message and exit code 1.

    It decorates the `main` of a command, and includes `exit_on_closed_pipe`.
    """
    with exit_on_closed_pipe():
        try:
            yield
        except BrokenPipeError:  # an OSError, but no mistake
            raise
        except KeyboardInterrupt:
            print("stopped by SIGINT", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except (UserError, ValueError, OSError) as error:
            sys.exit(sentence(error))


def sentence(error: BaseException) -> str:
    """What an error says, without the number that the system gives to its own."""
    if isinstance(error, OSError) and error.strerror is not None:
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}"
    return str(error)


def _flush() -> OSError | None:
    """Prints the rest of the buffer, else Python finds out when it ends, and complains.

    If that fails it goes nowhere, and the error is returned.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return error
    return None


def _is_refusal(error: BaseException | None) -> bool:
    from lightning.fabric.utilities.exceptions import MisconfigurationException  # takes seconds

    return isinstance(
        error, ValueError | TypeError | OSError | ImportError | MisconfigurationException
    )
