"""Kronecker products, and the linear stacks that are equal to them."""

from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from context_agg.analysis.kronecker import (
    compare_approximations,
    composite_kernel,
    kronecker_kernel,
    low_rank,
    nearest_kronecker,
    nearest_kronecker_power,
    random_kernel,
    relative_error,
    run_stack,
    spread_by_kronecker,
)


def weights(channels: list[int], side: int = 3, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(k, c, side, side, generator=generator, dtype=torch.float64)
        for c, k in pairwise(channels)
    ]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


X = torch.randn(2, 1, 40, 40, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


@pytest.mark.parametrize("side", [2, 3, 5])
@pytest.mark.parametrize("layers", [2, 3])
def test_the_identity_holds_where_dilations_are_powers_of_the_side(side: int, layers: int) -> None:
    x = torch.randn(1, 1, 130, 131, dtype=torch.float64)
    stack = weights([1] * (layers + 1), side)
    dilations = [side**layer for layer in range(layers)]
    kernel = kronecker_kernel(stack)
    assert kernel.shape[-1] == side**layers
    assert relative(F.conv2d(x, kernel), run_stack(x, stack, dilations)) < 1e-13
    expected = reduce(np.kron, [w[0, 0].numpy() for w in reversed(stack)])
    np.testing.assert_allclose(kernel[0, 0], expected, rtol=1e-13)


def test_the_order_of_the_factors_matters() -> None:
    stack = weights([1, 1, 1, 1])
    wrong = kronecker_kernel(stack[::-1])
    assert relative(F.conv2d(X, wrong), run_stack(X, stack, (1, 3, 9))) > 0.5


@pytest.mark.parametrize("dilations", [(1, 3, 9), (1, 2, 4), (2, 2, 2), (1, 1, 5)])
def test_the_composite_kernel_does_what_the_stack_does(dilations: tuple[int, ...]) -> None:
    """Also for several maps; only for powers of 3 is it the Kronecker product."""
    stack = weights([2, 3, 4, 2])
    x = X.expand(-1, 2, -1, -1) + 0.5
    kernel = composite_kernel(stack, dilations)
    assert kernel.shape == (2, 2, *[1 + 2 * sum(dilations)] * 2)
    assert relative(F.conv2d(x, kernel), run_stack(x, stack, dilations)) < 1e-13
    if dilations == (1, 3, 9):
        torch.testing.assert_close(kernel, kronecker_kernel(stack))
    else:
        assert kernel.shape[-1] != 27


def test_the_papers_dilations_make_a_kernel_of_15_not_27() -> None:
    assert composite_kernel(weights([1] * 4), (1, 2, 4)).shape[-1] == 15
    assert kronecker_kernel(weights([1] * 4, side=2)).shape[-1] == 8
    two = weights([1] * 4, side=2)  # 2x2 kernels need powers of 2
    torch.testing.assert_close(composite_kernel(two, (1, 2, 4)), kronecker_kernel(two))


def test_relu_and_zero_padding_in_every_layer_break_it() -> None:
    stack = weights([1] * 4)
    kernel = kronecker_kernel(stack)
    exact = F.conv2d(X, kernel, padding=13)  # padded once
    padded, rectified = X, X
    for weight, dilation in zip(stack, (1, 3, 9), strict=True):
        padded = F.conv2d(padded, weight, padding=dilation, dilation=dilation)
        rectified = F.conv2d(rectified, weight, dilation=dilation).relu()
    wrong = ((padded - exact).abs() > 1e-9).double().mean()
    # wrong up to 12 = 3 + 9 pixels from a border, the margins of all layers but the first
    assert 0.3 < float(wrong) < 0.9
    torch.testing.assert_close(padded[..., 13:-13, 13:-13], exact[..., 13:-13, 13:-13])
    assert relative(rectified, F.conv2d(X, kernel)) > 0.1


def test_a_dilated_kernel_as_a_kronecker_product_with_a_corner() -> None:
    kernel = np.arange(1.0, 10).reshape(3, 3)
    spread = spread_by_kronecker(kernel, 4)
    assert spread.shape == (12, 12)
    np.testing.assert_array_equal(spread[::4, ::4], kernel)
    assert np.count_nonzero(spread) == 9
    dilated = F.conv2d(X, torch.tensor(kernel)[None, None], dilation=4)
    wide = F.conv2d(X, torch.tensor(spread)[None, None])  # 3 trailing zeros cut off 3 positions
    torch.testing.assert_close(wide, dilated[..., :-3, :-3])


def test_the_nearest_kronecker_product() -> None:
    """A product is found exactly; for any matrix, no small change of a factor improves it."""
    generator = np.random.default_rng(0)
    b, c = generator.standard_normal((3, 3)), generator.standard_normal((5, 5))
    found = np.kron(*nearest_kronecker(np.kron(b, c), 3))
    assert relative_error(found, np.kron(b, c)) < 1e-14
    matrix = generator.standard_normal((15, 15))
    best_b, best_c = nearest_kronecker(matrix, 3)
    best = relative_error(np.kron(best_b, best_c), matrix)
    for _ in range(50):
        other = best_b + 0.01 * generator.standard_normal((3, 3))
        assert relative_error(np.kron(other, best_c), matrix) >= best


def test_the_factors_of_a_product_of_three_are_found() -> None:
    kernel = random_kernel(0)
    factors = nearest_kronecker_power(kernel, 3)
    assert [factor.shape for factor in factors] == [(3, 3)] * 3
    assert relative_error(reduce(np.kron, factors), kernel) < 1e-12


def test_more_rounds_are_not_worse() -> None:
    matrix = np.random.default_rng(0).standard_normal((27, 27))
    errors = [
        relative_error(reduce(np.kron, nearest_kronecker_power(matrix, 3, rounds)), matrix)
        for rounds in (0, 1, 5, 20)
    ]
    assert errors == sorted(errors, reverse=True)


def test_random_kernels_have_full_rank_and_fractals_repeat_themselves() -> None:
    assert np.linalg.matrix_rank(random_kernel(0)) == 27
    fractal = random_kernel(0, 4, same=True)
    assert fractal.shape == (81, 81)
    np.testing.assert_allclose(
        fractal[:27, :27] / fractal[0, 0], fractal[27:54, :27] / fractal[27, 0]
    )


def test_approximations_by_what_they_are_best_at() -> None:
    """A Kronecker product and a matrix of rank 1, each found by its own family alone."""
    product = compare_approximations(random_kernel(0))
    assert product["3x3 (x) 3x3 (x) 3x3"][0] == 27
    assert product["3x3 (x) 3x3 (x) 3x3"][1] < 1e-12
    assert product["u v^T"][1] > 0.3
    u, v = np.random.default_rng(1).standard_normal((2, 27))
    ranked = compare_approximations(np.outer(u, v))
    assert ranked["u v^T"][0] == 54
    assert ranked["u v^T"][1] < 1e-12
    assert ranked["3x3 (x) 3x3 (x) 3x3"][1] > 0.3
    symmetric = compare_approximations(-np.outer(u, u))
    assert symmetric["u u^T"][0] == 27
    assert symmetric["u u^T"][1] < 1e-12


def test_low_rank_is_the_truncated_svd() -> None:
    matrix = np.random.default_rng(0).standard_normal((8, 8))
    s = np.linalg.svd(matrix, compute_uv=False)
    error = np.linalg.norm(low_rank(matrix, 3) - matrix)
    assert error == pytest.approx(np.sqrt((s[3:] ** 2).sum()))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest_kronecker(np.ones((4, 4)), 3), "side=3 must divide"),
        (lambda: nearest_kronecker_power(np.ones((6, 6)), 3), "not a power of 3"),
        (lambda: compare_approximations(np.ones((28, 28))), "not \\(27, 27\\)"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
