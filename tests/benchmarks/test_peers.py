"""Every peer computes the same loss and gradients, and waits for its turn."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import psutil
import pytest
import torch

from benchmarks import peers, turns
from benchmarks.limit import Limit
from benchmarks.peers import PEERS, installed
from benchmarks.peers.torch_loop import ChannelsLast, Ours, PyTorch, TorchLoop
from benchmarks.problem import Array, Gradients, Problem
from benchmarks.reference import bias_off_zero, check, error, reference, weights
from benchmarks.worker import started

PROBLEM = Problem((1, 2), channels=2, batch=3, side=5)


@pytest.mark.parametrize("loop", [Ours, PyTorch, ChannelsLast])
def test_a_loop_of_torch_has_the_gradients_of_float64_and_a_step_a_batch(
    loop: type[TorchLoop],
) -> None:
    start = weights(PROBLEM)
    made = loop(replace(PROBLEM, steps=4), start)
    assert error(made.check(), reference(PROBLEM, start)) < 1e-5
    steps: list[Array] = []
    made.train(lambda: steps.append(next(made.network.parameters()).detach().numpy().copy()))
    assert len(steps) == 4
    assert all((a != b).any() for a, b in pairwise(steps))


def test_the_reference_has_the_gradients_of_finite_differences() -> None:
    start = weights(PROBLEM)
    expected = reference(PROBLEM, start)
    loop = PyTorch(PROBLEM, start)
    network, (x, target) = loop.network.double(), loop.batch(0)
    for number, parameter in enumerate(network.parameters()):
        direction = torch.from_numpy(np.random.default_rng(number).normal(size=start[number].shape))
        losses = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-6)
                losses.append(torch.nn.functional.cross_entropy(network(x.double()), target).item())
                parameter.sub_(direction, alpha=sign * 1e-6)
        slope = (losses[0] - losses[1]) / 2e-6
        assert slope == pytest.approx((expected.grads[number] * direction.numpy()).sum(), rel=1e-5)


def test_no_relu_is_near_zero_and_no_map_is_dead() -> None:
    offset = torch.tensor([0.0, -9.0, 9.0])[:, None, None]
    y = torch.randn(50, 3, 20, 20, dtype=torch.float64) + offset
    moved = y + bias_off_zero(y)[:, None, None]
    assert moved.abs().min() > 1e-4  # 20,000 values: two neighbours are 1e-4 apart on average
    share = (moved < 0).double().mean((0, 2, 3))
    torch.testing.assert_close(share, torch.full((3,), 1 / 3).double(), atol=0.03, rtol=0)


def test_a_peer_whose_gradient_is_wrong_is_not_timed() -> None:
    right = reference(PROBLEM, weights(PROBLEM))
    wrong = Gradients(right.loss, [*right.grads[:-1], 1.001 * right.grads[-1]])
    with pytest.raises(ArithmeticError, match=r"Ours is wrong by 1.0e-03; it is not timed"):
        check("Ours", error(wrong, right))
    with pytest.raises(ArithmeticError, match="wrong by nan"):
        check("Ours", error(Gradients(float("nan"), right.grads), right))


def test_a_peer_that_is_not_installed_is_skipped_with_a_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "jax" else "there")
    assert installed(["ours", "keras", "flax"]) == ["ours", "keras"]
    assert capsys.readouterr().out == (
        "skipped Flax, JAX: jax not installed; pip install -e '.[peers]'\n"
    )


def test_a_round_waits_until_others_are_idle_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    busy = iter([90.0, 50.0, 4.0, 60.0])
    monkeypatch.setattr(psutil, "cpu_percent", lambda seconds: next(busy))
    quiet = turns.Quiet()
    quiet.wait()
    assert quiet.busy == [4]
    monkeypatch.setattr(turns, "PATIENCE", 0)
    impatient = turns.Quiet()
    impatient.wait()
    assert impatient.busy == [60]


def test_a_worker_that_fails_says_why() -> None:
    with (
        pytest.raises(RuntimeError, match=r"(?s)PyTorch ended: .*must match the size"),
        started("pytorch", replace(PROBLEM, side=4), PROBLEM.weights()) as worker,
    ):
        worker.gradients()


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "REST", 0)
    monkeypatch.setattr(turns, "PATIENCE", 0)
    monkeypatch.setattr(turns, "WARM_UP", 1)


FIELDS = {"channels", "batch", "side", "dilations", "threads", "gigaflops", "others_percent"}


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_in_a_process_of_its_own_is_checked_and_timed(name: str, no_rest: None) -> None:
    if PEERS[name].missing():
        pytest.skip(f"{PEERS[name].title} is not installed")
    measured = turns.measure(PROBLEM, [name], 2, Limit())
    assert measured.keys() == FIELDS | {"limit_gigaflops_per_second", "peers"}
    assert len(measured["limit_gigaflops_per_second"]) == 2
    assert measured["peers"].keys() == {name}
    timed = measured["peers"][name]
    assert timed.keys() == {"error", "mebibytes", "milliseconds"}
    assert 0 < timed["error"] < 1e-5
    assert timed["mebibytes"] > 0
    assert len(timed["milliseconds"]) == 2
    assert min(timed["milliseconds"]) > 0
