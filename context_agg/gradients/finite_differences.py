"""Compares an operator with finite differences, in float64."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from context_agg.ops import ConvOp

OPERANDS = ("x", "weight", "bias")


def gradcheck_operands(
    size: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Draws x (2, 3, H, W), weight (2, 3, 3, 3) and bias (2,) from N(0, 1), in float64."""
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 3, *size), (2, 3, 3, 3), (2,)
    x, weight, bias = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(device) for shape in shapes
    )
    return x, weight, bias


def gradcheck_failures(
    op: ConvOp, operands: tuple[Tensor, Tensor, Tensor], dilation: int
) -> list[str]:
    """The gradients that torch.autograd.gradcheck rejects: "grad_x", "grad_weight", "grad_bias".

    If the operator raises an error, the list holds only a description of that error.
    """

    def run(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return op(x, weight, bias, dilation)

    wrong = []
    for number, name in enumerate(OPERANDS):
        inputs = [operand.detach() for operand in operands]
        inputs[number].requires_grad_()
        try:
            torch.autograd.gradcheck(run, inputs)
        except GradcheckError:
            wrong.append(f"grad_{name}")
        except Exception as error:  # whatever a user's operator raises
            return [f"raised {error!r}"]
    return wrong


def difference_errors(
    op: ConvOp, x: Tensor, weight: Tensor, bias: Tensor, dilation: int, steps: Sequence[float]
) -> list[float]:
    """Relative error between the operator's gradient and central differences, per step size.

    The loss is L = sum(R sin y) with random R, differentiated along a random direction v of x,
    weight and bias at once: (L(+eps v) - L(-eps v)) / 2 eps against gradient . v. For a correct
    gradient the error falls with eps^2 until rounding, which grows with 1 / eps, dominates; for
    a wrong gradient it stays large.
    """
    generator = torch.Generator().manual_seed(0)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)

    leaves = [operand.detach().requires_grad_() for operand in (x, weight, bias)]
    factors = normal(x.new_empty(len(x), len(weight), *x.shape[2:]))
    direction = [normal(leaf) for leaf in leaves]

    def loss(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return (factors * op(x, weight, bias, dilation).sin()).sum()

    grads = torch.autograd.grad(loss(*leaves), leaves, materialize_grads=True)
    slope = float(sum((g * v).sum() for g, v in zip(grads, direction, strict=True)))

    def moved(eps: float) -> float:
        with torch.no_grad():
            return float(loss(*(a + eps * v for a, v in zip(leaves, direction, strict=True))))

    differences = [(moved(eps) - moved(-eps)) / (2 * eps) for eps in steps]
    return [abs(slope - difference) / abs(difference) for difference in differences]
