"""What the processes of a run tell each other beside their tensors: orders, verdicts, last words.

Each tells it to a store that torchrun, or under srun rank 0, keeps for all. A process alone has
nobody to tell.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from context_agg.cli import ranks
from context_agg.cli.errors import UserError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

POLL = 0.05  # seconds between two looks, as a signal must be able to end a process that waits
PATIENCE = 60.0  # seconds that rank 0, before it ends, waits for others that still start

_given = False
_rounds = count()


def give(**order: Any) -> None:
    """Tells the other processes what the run is."""
    global _given
    if ranks.count() > 1:
        _given = True
        _store().set("order", json.dumps(order))


def take() -> dict[str, Any]:
    """Waits for what rank 0 gives.

    Raises:
        SystemExit: if rank 0 has ended and there is nothing to do.
    """
    order: dict[str, Any] = json.loads(_wait("order"))
    _hear("order")
    if not order:
        sys.exit()
    return order


@contextmanager
def leading() -> Iterator[None]:
    """The work of rank 0. If it ends without an order, the other processes end too.

    Its last message is left out if another process has said the same.
    """
    if ranks.count() == 1:
        yield
        return
    try:
        yield
    except SystemExit as end:
        if isinstance(end.code, str):
            if first_to_say(end.code):
                print(end.code, file=sys.stderr)
            sys.exit(1)
        raise
    finally:
        if not _given:
            _store().set("order", json.dumps({}))
            _hear("order")


@contextmanager
def agreed() -> Iterator[None]:
    """What every process does by itself before all go on; if one refuses, all do.

    Raises:
        UserError: with the message of the first process that refuses.
    """
    if ranks.count() == 1:
        yield
        return
    verdict, problem, cause = f"verdict/{next(_rounds)}", "", None
    try:
        yield
    except UserError as error:
        problem, cause = str(error), error
    except BaseException as error:
        _store().set(f"{verdict}/{ranks.rank()}", str(error) or type(error).__name__)
        raise
    _store().set(f"{verdict}/{ranks.rank()}", problem)
    problems = [_wait(f"{verdict}/{rank}") for rank in range(ranks.count())]
    if any(problems):
        _hear(verdict)
        rank, said = next((rank, said) for rank, said in enumerate(problems) if said)
        raise UserError(f"rank {rank}: {said}" if rank else said) from cause


def first_to_say(message: str) -> bool:
    """Whether no other process has said this; to be asked once, before it is said."""
    if ranks.count() == 1 or (ranks.leads() and not _given):
        return True
    try:
        return _store().add(f"said/{message}", 1) == 1
    except RuntimeError:  # the store has ended, and so has whoever kept it
        return ranks.leads()


def _wait(key: str) -> str:
    while not _store().check([key]):
        time.sleep(POLL)
    return _store().get(key).decode()


def _hear(key: str) -> None:
    """Says that this process has heard it; rank 0 waits until all have, as the store may be its."""
    _store().set(f"{key}/heard/{ranks.rank()}", "")
    end = time.monotonic() + PATIENCE
    everyone = [f"{key}/heard/{rank}" for rank in range(ranks.count())]
    while ranks.leads() and not _store().check(everyone) and time.monotonic() < end:
        time.sleep(POLL)


@cache
def _store() -> "Store":
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://"))
    return dist.PrefixStore("context_agg", store)  # type: ignore[attr-defined]
