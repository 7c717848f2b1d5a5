"""The one owner of the signals that end a command: Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2.

A signal is noted. Where nothing can be lost it ends the work at any point (`at_once`); elsewhere
the code asks for it (`check`) when it has reached a state worth keeping.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import Signals
from types import FrameType

import psutil

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

_received: Signals | None = None
_interrupts = 0
_at_once = False
_parent_of_workers = False
_worker_of: int | None = None


class Stopped(SystemExit):
    """A signal has ended the work; the exit code is 128 + the number of the signal.

    Args:
        by: the signal.
        kept: what is kept of the work.
    """

    def __init__(self, by: Signals, kept: str = "nothing had begun yet") -> None:
        super().__init__(128 + by)
        self.by = by
        self.kept = kept

    def __str__(self) -> str:
        return f"stopped by {self.by.name}: {self.kept}"


def install() -> None:
    """Handles the signals from now on; to be called in the main thread.

    `Trainer.fit` installs Lightning's own handler of SIGTERM; to be called again after that.
    """
    for number in ENDING:
        signal.signal(number, _handle)


def received() -> Signals | None:
    """The first signal that has arrived."""
    return _received


def check() -> None:
    """Ends the work if a signal has arrived.

    Raises:
        Stopped: if so.
    """
    if _received is not None:
        raise Stopped(_received)


@contextmanager
def at_once(yes: bool = True) -> Iterator[None]:
    """Within it, a signal ends the work at any point by raising `Stopped`; not with yes=False."""
    global _at_once
    before, _at_once = _at_once, yes
    try:
        if yes:
            check()
        yield
    finally:
        _at_once = before


@contextmanager
def exit_when_stopped() -> Iterator[None]:
    """Ends the command if a signal stops it; its last line says what is kept."""
    try:
        yield
    except Stopped as stopped:
        sys.stdout.flush()
        print(stopped, file=sys.stderr, flush=True)
        sys.exit(stopped.code)


def lead_workers() -> None:
    """Makes this process the one that passes signals on to the workers that it will start.

    Ctrl-C in a terminal reaches every process, and would end workers that are still starting in a
    stack trace each. So they start with the signals blocked, until they call `follow`.
    """
    global _parent_of_workers
    _parent_of_workers = True
    # Threads and processes inherit what is blocked. The signals go to a thread that does not
    # block them; Python runs the handler in the main thread all the same.
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def follow(parent: int) -> None:
    """Makes this process a worker of `parent`: it handles signals, and ends when `parent` ends."""
    global _worker_of
    if _worker_of is not None:
        return
    _worker_of = parent
    install()
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def end_if_left_alone() -> None:
    """Ends a worker whose parent has ended: nobody waits for its results."""
    if _worker_of is not None and os.getppid() != _worker_of:
        os._exit(128 + (_received or signal.SIGTERM))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _handle(number: int, frame: FrameType | None) -> None:
    global _received, _interrupts
    _interrupts += number == signal.SIGINT
    if _interrupts > 1:
        os._exit(128 + number)
    first = _received is None
    _received = _received or Signals(number)
    if _parent_of_workers:
        for child in psutil.Process().children():
            child.send_signal(signal.SIGTERM if number == signal.SIGINT else number)
    if _at_once:
        raise Stopped(_received)
    if first and _worker_of is None:
        os.write(2, b"stopping soon; Ctrl-C again stops at once\n")
