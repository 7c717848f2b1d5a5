"""Gives each job of a sweep a CUDA device of its own, where there are any."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from context_agg.runs.locks import take

VISIBLE = "CUDA_VISIBLE_DEVICES"  # what CUDA reads when a process first uses it


_taken = False  # whether this process has its device


def names(count: int, environment: Mapping[str, str]) -> list[str]:
    """The names of the devices that a process sees, as `VISIBLE` has them.

    Args:
        count: how many devices there are for it, as torch counts them.
        environment: that of the process.
    """
    numbers = ",".join(map(str, range(count)))
    return environment.get(VISIBLE, numbers).split(",")[:count]


def device_of(slot: int, devices: Sequence[str]) -> str:
    """The device of the n-th of the jobs that run at the same time, in turn."""
    return devices[slot % len(devices)]


def take_device(devices: Sequence[str], slots: Path) -> None:
    """Makes this process see a single device, which no other process has taken, for all its jobs.

    It keeps the device until it ends, however it ends. If there are more processes than devices,
    each device has as many of them as the others, or one more.

    Args:
        devices: the names of all devices.
        slots: a folder for the locks of the processes that share them.
    """
    global _taken
    if _taken:
        return
    slot = 0
    while take(slots / str(slot)) is None:
        slot += 1
    os.environ[VISIBLE] = device_of(slot, devices)
    _taken = True
