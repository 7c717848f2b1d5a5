"""gradcheck and central differences tell right from wrong operators."""

import pytest
import torch

from context_agg.gradients.finite_differences import (
    difference_errors,
    gradcheck_failures,
    gradcheck_operands,
)
from context_agg.ops import CONV_OPS

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("rule", "at_dilation_1", "at_dilation_2"),
    [
        ("auto", [], []),
        ("manual", [], []),
        ("manual_taps", [], []),
        ("broken", [], ["grad_x", "grad_weight"]),
        ("undilated_grad_x", [], ["grad_x"]),
        ("undilated_grad_weight", [], ["grad_weight"]),
        ("unrotated", ["grad_x"], ["grad_x"]),
        ("no_bias_grad", ["grad_bias"], ["grad_bias"]),
        ("draft", ["grad_x", "grad_weight"], ["grad_x", "grad_weight"]),
    ],
)
def test_gradcheck_names_what_is_wrong(
    rule: str, at_dilation_1: list[str], at_dilation_2: list[str]
) -> None:
    square = gradcheck_operands((7, 7), CPU)
    assert gradcheck_failures(CONV_OPS[rule], square, 1) == at_dilation_1
    assert gradcheck_failures(CONV_OPS[rule], square, 2) == at_dilation_2


def test_gradcheck_of_an_operator_that_raises() -> None:
    (failure,) = gradcheck_failures(CONV_OPS["draft"], gradcheck_operands((6, 5), CPU), 2)
    assert "raised ValueError" in failure
    assert "not 6x5" in failure


def test_difference_errors_fall_with_the_square_of_the_step_only_for_a_right_gradient() -> None:
    x, weight, bias = gradcheck_operands((7, 7), CPU)
    right = difference_errors(CONV_OPS["manual"], x, weight, bias, 2, [1e-2, 1e-3, 1e-4])
    assert right[0] / right[1] == pytest.approx(100, rel=0.05)
    assert right[1] / right[2] == pytest.approx(100, rel=0.05)
    wrong = difference_errors(CONV_OPS["broken"], x, weight, bias, 2, [1e-2, 1e-3, 1e-4])
    assert wrong[1] == pytest.approx(wrong[2], rel=1e-3)
    assert wrong[2] > 0.1
