"""The one owner of the signals that end a command: Ctrl-C, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2.

A signal is noted. While nothing can be lost it ends the process at any point (`at_once`); otherwise
the code asks for it (`check`) when it has reached a state worth keeping. The handler never raises:
PyTorch aborts if an exception comes out of an import of its own.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import Signals
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
POLL = 0.2  # seconds between two looks of a thread that waits for a signal or an end
GRACE = 20.0  # seconds that a worker has to end its step once its parent has ended
NOTHING = "nothing was changed; start again with the same command"

Handler = Callable[[int, FrameType | None], object]

_received: Signals | None = None
_interrupts = 0
_at_once: Callable[[], str] | None = None
_worker_of: int | None = None
_scheduler: tuple[Signals, Handler] | None = None  # its signal, and what it does then
_working = False


class Stopped(SystemExit):
    """A signal has ended the work; the exit code is 128 + the number of the signal.

    Args:
        by: the signal.
        kept: what is kept of the work.
    """

    def __init__(self, by: Signals, kept: str = NOTHING) -> None:
        super().__init__(128 + by)
        self.by = by
        self.kept = kept

    def __str__(self) -> str:
        return f"stopped by {self.by.name}: {self.kept}"


def install() -> None:
    """Handles the signals from now on; to be called in the main thread.

    A signal that the caller ignores stays ignored, as SIGHUP under nohup.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def leave() -> None:
    """Leaves them to the system, which ends the process without a word, until `follow`."""
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def received() -> Signals | None:
    """The first signal that has arrived."""
    return _received


def check() -> None:
    """Ends the work if a signal has arrived.

    Raises:
        Stopped: if so.
    """
    stop(_received or 0)


def stop(number: int) -> None:
    """Ends the work by a signal, which another process of the run may have got; 0 is none.

    Raises:
        Stopped: if it is one.
    """
    if number:
        raise Stopped(Signals(number))


def at_once(end: Callable[[], str] | None) -> None:
    """Says whether from now on a signal ends the process at any point.

    A job of somebody else is not ended so: the parent of a worker waits for it, and a scheduler
    wants its signal handed over.

    Args:
        end: tidies up, and says what is kept; None: signals are noted.
    """
    global _at_once
    _at_once = end
    if end is not None and _received is not None and not _is_job():
        _end(_received, end())


@contextmanager
def exit_when_stopped() -> Iterator[None]:
    """Ends the command if a signal stops it; its last line says what is kept."""
    try:
        yield
    except Stopped as stopped:
        _flush()
        _say(str(stopped))
        sys.exit(stopped.code)


def lead_workers() -> None:
    """Makes this process the one that passes signals on to the workers that it will start.

    Ctrl-C in a terminal reaches every process, and would end workers that are still starting in a
    stack trace each. So they start with the signals blocked, until they call `follow`.
    """
    # What a killed parent leaves in /dev/shm joblib's helper removes, and would warn of.
    filters = [os.environ.get("PYTHONWARNINGS"), "ignore:resource_tracker:UserWarning"]
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, filters))
    # Threads and processes inherit what is blocked. The signals go to this thread, which does not
    # block them; Python runs the handler in the main thread all the same.
    threading.Thread(target=_lead, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)


def follow(parent: int) -> None:
    """Begins a job in a worker of `parent`: it handles signals, and ends when `parent` ends."""
    global _worker_of, _working
    _working = True
    if _worker_of is None:
        _worker_of = parent
        install()
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def end_if_left_alone() -> None:
    """Ends a job; a worker whose parent has ended ends too, as nobody waits for its results."""
    global _working
    _working = False
    if _worker_of is not None and os.getppid() != _worker_of:
        os._exit(128 + (_received or signal.SIGTERM))


def hold(signal_of_scheduler: Signals) -> None:
    """Notes the signal by which a scheduler asks a job to make room, until `hand_over`."""
    global _scheduler
    handler = signal.getsignal(signal_of_scheduler)
    assert callable(handler)
    _scheduler = signal_of_scheduler, handler
    signal.signal(signal_of_scheduler, _handle)


def hand_over(*, done: bool) -> None:
    """Ends a job of a scheduler: what its signal asks for is done now, unless the job is done."""
    global _scheduler
    assert _scheduler is not None
    (number, handler), _scheduler = _scheduler, None
    signal.signal(number, handler)
    if _received is not None and not done:
        handler(number, None)


def _is_job() -> bool:
    return _worker_of is not None or _scheduler is not None


def _lead() -> None:
    import psutil

    told = set()
    while True:
        time.sleep(POLL)
        if _received is not None:  # workers may still be starting
            for child in psutil.Process().children():
                if child.pid not in told:
                    told.add(child.pid)
                    with suppress(psutil.NoSuchProcess):
                        child.terminate()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    if _working:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
    os._exit(128 + signal.SIGTERM)


def _handle(number: int, frame: FrameType | None) -> None:
    global _received, _interrupts
    _interrupts += number == signal.SIGINT
    if _interrupts > 1:
        _say("stopped at once; the checkpoint before is kept")
        os._exit(128 + number)
    first = _received is None
    _received = _received or Signals(number)
    if not first or _is_job():
        return
    if _at_once is not None:
        _end(_received, _at_once())
    _say("stopping soon; Ctrl-C again stops at once")


def _end(by: Signals, kept: str) -> None:
    _flush()
    _say(str(Stopped(by, kept)))
    os._exit(128 + by)


def _flush() -> None:
    with suppress(OSError, RuntimeError):  # nobody reads it any more, or it is being printed
        sys.stdout.flush()


def _say(line: str) -> None:
    """Prints a line without Python's buffers, which a signal may have interrupted."""
    over_bar = "\r\x1b[K" if os.isatty(2) else ""
    with suppress(OSError):
        os.write(2, f"{over_bar}{line}\n".encode())
