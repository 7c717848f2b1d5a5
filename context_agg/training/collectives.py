"""What the processes of a run compute together; one that is alone has the result already."""

from functools import cache
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")


def processes() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them."""
    return dist.get_rank() if processes() > 1 else 0


def total(x: Tensor) -> Tensor:
    """The sum over the processes of a tensor on the device of the run."""
    if processes() == 1:
        return x
    result = x.detach().clone()
    dist.all_reduce(result)
    return result


def from_first(x: Tensor) -> Tensor:
    """A tensor on the device of the run as the first process has it."""
    if processes() > 1:
        dist.broadcast(x, 0)
    return x


def largest(*numbers: int) -> list[int]:
    """The largest that a process gives for each of these numbers."""
    if processes() == 1:
        return list(numbers)
    values = torch.tensor(numbers)
    dist.all_reduce(values, dist.ReduceOp.MAX, group=_on_cpu())
    return [int(value) for value in values]


def gather(own: T) -> list[T]:
    """What every process has, by rank: numbers, and containers of them and of CPU tensors."""
    if processes() == 1:
        return [own]
    found: list[T | None] = [None] * processes()
    dist.all_gather_object(found, own, group=_on_cpu())
    return found  # type: ignore[return-value]


def settle_sums(model: nn.Module, x: Tensor) -> None:
    """Lets DDP settle how it groups gradients, which it does after its first backward pass.

    The last bits of its sums depend on that. A run that goes on thus adds as it has done before.

    Args:
        model: the network as DDP has wrapped it.
        x: an input; what is computed of it is thrown away.
    """
    before = [buffer.clone() for buffer in model.buffers()]
    with torch.random.fork_rng():
        model(x).sum().backward()
    model.zero_grad()
    for buffer, value in zip(model.buffers(), before, strict=True):  # such as running means
        buffer.copy_(value)


@cache
def _on_cpu() -> dist.ProcessGroup:
    """The processes as a group that never waits for CUDA."""
    group = dist.new_group(backend="gloo")
    assert isinstance(group, dist.ProcessGroup)  # this process is in it
    return group
