"""The state of the random generators is that of the device of the run."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from context_agg.callbacks.last_checkpoint import random_state, set_random_state

CPU = torch.device("cpu")


class Devices:
    """Stands for CUDA devices: the state of the generator of each, by its number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: int) -> None:
        self.states = [torch.tensor([state], dtype=torch.uint8) for state in states]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(self.states))
        monkeypatch.setattr(torch.cuda, "get_rng_state", self.get)
        monkeypatch.setattr(torch.cuda, "set_rng_state", self.set)

    def get(self, device: Any = "cuda") -> Tensor:
        return self.states[torch.device(device).index or 0].clone()

    def set(self, state: Tensor, device: Any = "cuda") -> None:
        self.states[torch.device(device).index or 0] = state.clone()

    def numbers(self) -> list[int]:
        return [int(state) for state in self.states]


def cuda(number: int) -> torch.device:
    return torch.device("cuda", number)


def draw() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_the_generators_of_the_cpu_go_on_where_they_were() -> None:
    state = random_state(CPU)
    drawn = draw()
    set_random_state(state, CPU)
    assert draw() == drawn


def test_a_run_on_one_of_eight_devices_goes_on_where_one_is_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Devices(monkeypatch, 10, 11, 12, 13, 14, 15, 16, 17)
    first, fourth = random_state(cuda(0)), random_state(cuda(3))
    now = Devices(monkeypatch, 0)
    for state, number in ((first, 10), (fourth, 13)):
        set_random_state(state, cuda(0))
        assert now.numbers() == [number]


def test_other_devices_keep_their_state(monkeypatch: pytest.MonkeyPatch) -> None:
    devices = Devices(monkeypatch, 1, 2, 3)
    state = random_state(cuda(1))
    devices.set(torch.tensor([9], dtype=torch.uint8), cuda(1))
    set_random_state(state, cuda(1))
    assert devices.numbers() == [1, 2, 3]


@pytest.mark.parametrize(
    ("kept", "number", "expected"), [([5, 6], 0, 5), ([5, 6], 1, 6), ([5], 1, 5)]
)
def test_a_checkpoint_with_the_states_of_all_devices_is_read(
    kept: list[int], number: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As earlier versions have written it."""
    devices = Devices(monkeypatch, 0, 0)
    states = [torch.tensor([state], dtype=torch.uint8) for state in kept]
    set_random_state({**random_state(CPU), "cuda": states}, cuda(number))
    assert devices.numbers()[number] == expected
    assert devices.numbers()[1 - number] == 0


def test_a_run_on_the_cpu_leaves_the_devices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier version kept their states although the run did not use them."""
    devices = Devices(monkeypatch, 1)
    assert random_state(CPU)["cuda"] is None
    state = {**random_state(CPU), "cuda": devices.states * 8}
    set_random_state(state, CPU)
    set_random_state({**state, "cuda": []}, CPU)
    assert devices.numbers() == [1]
