"""All measurements of a backward pass that `context_agg.check` prints."""

import traceback
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from context_agg.gradients.agreement import Alignment, align, network_gradients, with_backprop
from context_agg.gradients.finite_differences import (
    difference_errors,
    gradcheck_failures,
    gradcheck_operands,
)
from context_agg.gradients.layers import (
    LayerCase,
    layer_cases,
    layer_tensors,
    true_conv,
    with_random_kernel,
)
from context_agg.ops import ConvOp

EXACT = 1e-9  # largest difference in float64, in units of the largest true entry
IN_TRAINING = 1e-6  # the same behind all layers of a network, which may enlarge the rounding
ROUGH = 1e-2  # the same in float32, as a GPU may round the factors to TF32
STEPS = tuple(10.0**-k for k in range(1, 11))  # step sizes of the finite differences
GRADCHECKS = ((1, (7, 7)), (2, (7, 7)), (2, (6, 5)))  # dilation, (height, width) of the maps


@dataclass(frozen=True)
class TensorCheck:
    """Compares one tensor of an operator on one layer with the true one in float64.

    Attributes:
        layer: name of the layer.
        dilation: dilation of the layer.
        tensor: "y", "grad_x", "grad_weight" or "grad_bias".
        difference: largest absolute difference.
        relative: the same in units of the largest true entry.
        alignment: how well the two agree as vectors.
        in_float32: `relative` when the operator computes in float32.
    """

    layer: str
    dilation: int
    tensor: str
    difference: float
    relative: float
    alignment: Alignment
    in_float32: float

    @property
    def exact(self) -> bool:
        """Whether the difference is small enough to be rounding."""
        return self.relative <= EXACT


@dataclass(frozen=True)
class ParameterCheck:
    """Compares the gradient of a parameter with the true one, all layers together, in float64.

    Attributes:
        relative: largest difference, in units of the largest true entry.
        alignment: how well the two agree as vectors.
    """

    relative: float
    alignment: Alignment

    @property
    def exact(self) -> bool:
        """Whether the difference is small enough to be rounding."""
        return self.relative <= IN_TRAINING


@dataclass(frozen=True)
class Raised:
    """An error that the operator raised on a layer or on the whole network."""

    layer: str
    dilation: int
    error: str


@dataclass(frozen=True)
class BackwardReport:
    """The measurements of an operator.

    Attributes:
        layers: every tensor of every layer, on the layer's own input and gradient.
        parameters: the gradient of every trained parameter of the whole network.
        gradchecks: the gradients that torch.autograd.gradcheck rejects, by case.
        differences: relative error of central differences, by step size.
    """

    layers: Sequence[TensorCheck | Raised]
    parameters: dict[str, ParameterCheck] | Raised
    gradchecks: dict[str, list[str]]
    differences: dict[float, float] | Raised

    @property
    def wrong(self) -> dict[str, list[str]]:
        """What is wrong, and where; empty if the backward pass is correct.

        The gradients in training count where the layers by themselves have no mistake.
        """
        found: dict[str, list[str]] = defaultdict(list)
        for check in self.layers:
            if isinstance(check, Raised):
                found["error"].append(check.layer)
            elif not check.exact:
                found[check.tensor].append(f"dilation {check.dilation}")
            elif not check.in_float32 <= ROUGH:
                found[f"{check.tensor} in float32"].append(f"dilation {check.dilation}")
        if isinstance(self.parameters, Raised):
            found["error"].append(self.parameters.layer)
        elif not found and (
            wrong := [n for n, check in self.parameters.items() if not check.exact]
        ):
            found["gradients in training"] = wrong
        for case, failures in self.gradchecks.items():
            if failures:
                found["gradcheck"].append(case)
        if isinstance(self.differences, Raised):
            found["error"].append(self.differences.layer)
        return {what: list(dict.fromkeys(where)) for what, where in found.items()}


def measure_backward(
    op: ConvOp, network: nn.Module, loss: nn.Module, x: Tensor, target: Tensor
) -> BackwardReport:
    """Compares an operator with float64 autograd and with finite differences.

    Args:
        op: the operator to check; the network need not use it.
        network: a float64 network, whose layers are the cases.
        loss: (logits, target) -> scalar.
        x: a batch for the network, in float64.
        target: targets of the batch.
    """
    cases = layer_cases(network, loss, x, target)
    with with_backprop(network, op):
        parameters = _parameters(network, loss, x, target)
    return BackwardReport(
        layers=[check for case in cases for check in _layer(op, with_random_kernel(case))],
        parameters=parameters,
        gradchecks={
            f"dilation {dilation} on {size[0]}x{size[1]}": gradcheck_failures(
                op, gradcheck_operands(size, x.device), dilation
            )
            for dilation, size in GRADCHECKS
        },
        differences=_differences(op, x.device),
    )


def _layer(op: ConvOp, case: LayerCase) -> Iterator[TensorCheck | Raised]:
    true = layer_tensors(true_conv, case, torch.float64)
    try:
        ours = layer_tensors(op, case, torch.float64)
        rough = layer_tensors(op, case, torch.float32)
    except Exception as error:  # whatever a user's operator raises
        yield Raised(case.name, case.dilation, _where(error))
        return
    for tensor, expected in true.items():
        difference, relative = _difference(ours[tensor], expected)
        yield TensorCheck(
            layer=case.name,
            dilation=case.dilation,
            tensor=tensor,
            difference=difference,
            relative=relative,
            alignment=align(ours[tensor], expected),
            in_float32=_difference(rough[tensor], expected)[1],
        )


def _where(error: Exception) -> str:
    """The error and the line that raised it."""
    *_, frame = traceback.extract_tb(error.__traceback__)
    return f"{error!r} in {frame.filename}:{frame.lineno}"


def _difference(ours: Tensor, true: Tensor) -> tuple[float, float]:
    """The largest absolute difference, also in units of the largest true entry."""
    difference = float((ours - true).abs().max())
    scale = float(true.abs().max())
    return difference, difference / scale if scale else (float("inf") if difference else 0.0)


def _parameters(
    network: nn.Module, loss: nn.Module, x: Tensor, target: Tensor
) -> dict[str, ParameterCheck] | Raised:
    try:
        ours, true = network_gradients(network, loss, x, target)
    except Exception as error:  # whatever a user's operator raises
        return Raised("the whole network", 1, _where(error))
    return {
        name: ParameterCheck(_difference(ours[name], true[name])[1], align(ours[name], true[name]))
        for name in ours
    }


def _differences(op: ConvOp, device: torch.device) -> dict[float, float] | Raised:
    try:
        errors = difference_errors(op, *gradcheck_operands((7, 7), device), 2, STEPS)
    except Exception as error:  # whatever a user's operator raises
        return Raised("finite differences", 2, _where(error))
    return dict(zip(STEPS, errors, strict=True))
