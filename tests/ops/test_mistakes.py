"""Each wrong rule is wrong exactly as its comment says."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.autograd.gradcheck import GradcheckError
from torch.nn import grad as conv_grads
from torch.testing import assert_close

from context_agg.ops import get_conv_op
from context_agg.ops.mistakes import MISTAKES
from tests.operands import operands

SIDES = [1, 3, 5]
Primitive = Callable[[Tensor, Tensor, Tensor, int], Tensor]


# PyTorch's own primitives in float64 are the independent formulas: grad_x and grad_weight of
# (x, weight, local gradient, dilation), where the local gradient includes the ReLU mask.


def x_of(x: Tensor, weight: Tensor, local: Tensor, dilation: int) -> Tensor:
    margin = dilation * (weight.shape[-1] // 2)
    grad: Tensor = conv_grads.conv2d_input(
        x.shape, weight, local, padding=margin, dilation=dilation
    )
    return grad


def weight_of(x: Tensor, weight: Tensor, local: Tensor, dilation: int) -> Tensor:
    margin = dilation * (weight.shape[-1] // 2)
    grad: Tensor = conv_grads.conv2d_weight(
        x, weight.shape, local, padding=margin, dilation=dilation
    )
    return grad


def as_if(primitive: Primitive, dilations: dict[int, int]) -> Primitive:
    return lambda x, w, local, d: primitive(x, w, local, dilations.get(d, d))


def undilated(primitive: Primitive) -> Primitive:
    return lambda x, w, local, d: primitive(x, w, local, 1)


def mirrored(x: Tensor, weight: Tensor, local: Tensor, dilation: int) -> Tensor:
    return x_of(x, torch.rot90(weight, 2, (2, 3)), local, dilation)


def through_signs(x: Tensor, weight: Tensor, local: Tensor, dilation: int) -> Tensor:
    return x_of(x, torch.where(weight > 0, 1.0, -1.0).to(weight), local, dilation)


def through_probed(x: Tensor, weight: Tensor, local: Tensor, dilation: int) -> Tensor:
    return x_of(x, probed_kernel(weight, dilation), local, dilation)


def probed_kernel(weight: Tensor, dilation: int) -> Tensor:
    """The kernel that feedback alignment uses for a layer, read off its answers to single pixels.

    A pixel in the middle of map k of grad_output leaves kernel[k] in grad_x, d pixels apart.
    """
    maps, channels, side, _ = weight.shape
    size = 2 * dilation * (side // 2) + 1
    x = torch.randn(maps, channels, size, size, dtype=weight.dtype, requires_grad=True)
    grad_output = torch.zeros(maps, maps, size, size, dtype=weight.dtype)
    grad_output[range(maps), range(maps), size // 2, size // 2] = 1
    y = get_conv_op("feedback_alignment")(x, weight, None, dilation)
    (grad_x,) = torch.autograd.grad(y, x, grad_output)
    return grad_x[:, :, ::dilation, ::dilation]


def exchanged(primitive: Primitive) -> Primitive:
    draft = as_if(primitive, {1: 1, 2: 2, 4: 3, 8: 3, 16: 1})
    return lambda x, w, local, d: draft(x, w, local.permute(0, 1, 3, 2), d)


FORMULAS: dict[str, tuple[Primitive, Primitive, bool]] = {  # grad_x, grad_weight, has grad_bias
    "broken": (undilated(x_of), undilated(weight_of), True),
    "undilated_grad_x": (undilated(x_of), weight_of, True),
    "undilated_grad_weight": (x_of, undilated(weight_of), True),
    "unrotated": (mirrored, weight_of, True),
    "no_bias_grad": (x_of, weight_of, False),
    "draft": (exchanged(x_of), exchanged(weight_of), True),
    "feedback_alignment": (through_probed, weight_of, True),
    "sign_symmetric": (through_signs, weight_of, True),
}


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_the_one_its_line_says(
    name: str, side: int, dilation: int, relu: bool
) -> None:
    x, weight, bias = operands(side=side, h=9, w=9)
    y = get_conv_op(name)(x, weight, bias, dilation, relu)
    right = get_conv_op("auto")(x, weight, bias, dilation, relu)
    assert_close(y, right)  # the forward is right
    grad_output = torch.randn(y.shape, dtype=y.dtype, generator=torch.Generator().manual_seed(1))
    grads = torch.autograd.grad(y, (x, weight, bias), grad_output)
    local = grad_output * (y > 0) if relu else grad_output
    of_x, of_weight, has_bias = FORMULAS[name]
    assert_close(grads[0], of_x(x, weight, local, dilation))
    assert_close(grads[1], of_weight(x, weight, local, dilation))
    assert_close(grads[2], local.sum((0, 2, 3)) * has_bias)


AT_DILATION_1 = {  # whether gradcheck at dilation 1, the easiest check, catches it
    "broken": False,
    "undilated_grad_x": False,
    "undilated_grad_weight": False,
    "unrotated": True,
    "no_bias_grad": True,
    "draft": True,
    "feedback_alignment": True,
    "sign_symmetric": True,
}


@pytest.mark.parametrize("name", MISTAKES)
def test_gradcheck_at_dilation_1_overlooks_what_only_dilation_shows(name: str) -> None:
    case = (get_conv_op(name), (*operands(h=5, w=5), 1, True))
    if AT_DILATION_1[name]:
        with pytest.raises(GradcheckError, match="Jacobian mismatch"):
            gradcheck(*case)
    else:
        assert gradcheck(*case)


@pytest.mark.parametrize("dilation", [2, 3, 4, 8])
@pytest.mark.parametrize("name", MISTAKES)
def test_gradcheck_from_dilation_2_on_catches_every_mistake(name: str, dilation: int) -> None:
    with pytest.raises(GradcheckError, match="Jacobian mismatch"):
        gradcheck(get_conv_op(name), (*operands(h=9, w=9), dilation, True))


def test_draft_works_on_square_maps_only() -> None:
    x, weight, bias = operands(h=9, w=8)
    y = get_conv_op("draft")(x, weight, bias, 2)
    with pytest.raises(ValueError, match="must be square, not 9x8"):
        y.sum().backward()


def test_feedback_alignment_goes_back_through_a_kernel_that_is_random_and_fixed() -> None:
    weight, other = (torch.randn(40, 30, 3, 3, dtype=torch.float64) for _ in range(2))
    torch.manual_seed(3)
    kernel = probed_kernel(weight, 2)
    torch.rand(7)  # how much has been drawn since is of no matter
    assert_close(probed_kernel(other, 2), kernel)  # nor are the weights
    assert abs(torch.corrcoef(torch.stack([kernel.flatten(), weight.flatten()]))[0, 1]) < 0.05
    assert float(kernel.mean()) == pytest.approx(0, abs=0.004)  # 4 standard errors
    assert float(kernel.std()) == pytest.approx((40 * 9) ** -0.5, rel=0.03)
    assert probed_kernel(weight, 3).ne(kernel).all()  # each dilation has its own
    torch.manual_seed(4)
    assert probed_kernel(weight, 2).ne(kernel).all()  # and so has each seed
