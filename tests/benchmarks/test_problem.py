"""The peers' problem: its network, and how much work a step is."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.benchmark import Timer

from benchmarks.limit import Limit
from benchmarks.peers.nhwc import from_nhwc, to_nhwc
from benchmarks.peers.torch_loop import our_network, users_network
from benchmarks.problem import Convolution, Problem, multiply_adds


@pytest.mark.parametrize("channels", [1, 3])
def test_our_network_and_users_network_are_the_same_function(channels: int) -> None:
    problem = Problem((1, 2, 4), channels, side=7)
    x = torch.rand(2, 1, 7, 7)
    ours, users = our_network(problem, problem.weights()), users_network(problem, problem.weights())
    torch.testing.assert_close(ours.double()(x.double()), users.double()(x.double()))


@pytest.mark.parametrize(("dilation", "side"), [(1, 3), (2, 5), (3, 3), (9, 4)])
def test_only_taps_inside_the_image_count(dilation: int, side: int) -> None:
    ones = torch.ones(1, 2, side, side)
    taps = F.conv2d(ones, torch.ones(3, 2, 3, 3), padding=dilation, dilation=dilation)
    assert multiply_adds(Convolution(2, 3, 3, dilation), side) == taps.sum()


def test_the_work_of_a_step_by_hand() -> None:
    problem = Problem((1,), channels=2, batch=5, side=1)  # 1x1 images: only the middle tap
    front_end, layer, last, head = 1 * 2, 2 * 2, 2 * 2, 2 * 10
    assert problem.multiply_adds == 5 * (2 * front_end + 3 * (layer + last + head))


def test_weights_in_the_layout_of_other_frameworks_and_back() -> None:
    problem = Problem((1, 2), channels=3, side=4)
    weights = problem.weights()
    there = to_nhwc(problem, weights)
    assert [w.shape for w in there[::2]] == [
        (3, 3, 1, 3),
        *2 * [(3, 3, 3, 3)],
        (1, 1, 3, 3),
        (48, 10),
    ]
    x = torch.rand(3, 4, 4)
    expected = torch.from_numpy(weights[-2]) @ x.flatten()
    head = torch.from_numpy(there[-2].copy())
    torch.testing.assert_close(x.permute(1, 2, 0).flatten() @ head, expected)
    for ours, back in zip(weights, from_nhwc(problem, there), strict=True):
        assert (ours == back).all()


def test_the_limit_is_more_than_a_matrix_product_reaches() -> None:
    limit = Limit()
    a = torch.rand(512, 512)
    timer = Timer("a @ a", globals={"a": a}, num_threads=1)
    reached = 2 * 512**3 / timer.timeit(5).mean / 1e9
    assert limit(1) > 0.8 * reached
