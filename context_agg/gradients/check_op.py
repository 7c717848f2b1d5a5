"""Checks the backward pass of any function of tensors, and names the mistake in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from context_agg.gradients.inputs import remarks
from context_agg.gradients.measurement import Measurement
from context_agg.gradients.op_call import (
    Call,
    Op,
    declared,
    floats,
    input_names,
    title,
)
from context_agg.gradients.op_report import OpReport
from context_agg.gradients.precision import ROUGH
from context_agg.gradients.raised import said
from context_agg.ops.checks import is_number


def check_op(
    op: Op,
    inputs: Tensor | Sequence[Any],
    reference: Op | None = None,
    *,
    second_order: bool = False,
    device: torch.device | str | None = None,
    tolerance: float | None = None,
    float32_tolerance: float = ROUGH,
) -> OpReport:
    """Compares the gradients of an operator with the right ones, in float64, and explains them.

    All floating-point tensors among the inputs are differentiated, whether or not they require a
    gradient, and so are the parameters of a module. To leave one out, bind it:
    `lambda x: op(x, filters)`.

    Args:
        op: a function of tensors, an autograd.Function or its .apply, a torch.library operator, or
            a module.
        inputs: its positional arguments; tensors may also lie in lists, tuples and dictionaries.
        reference: the same function with right gradients. It takes the same arguments; beside a
            module it is a module with the same parameters, or takes them as keyword arguments.
            Without one the gradients are compared with finite differences of the operator itself.
        second_order: whether to check the gradients of the gradients too.
        device: where to compute; by default where the inputs are.
        tolerance: largest difference that counts as rounding, in units of the largest right entry;
            by default 1e-9 with a reference and 1e-6 with finite differences.
        float32_tolerance: the same in float32.

    Raises:
        ValueError: for inputs that are no tensor, list or tuple, if there is nothing to
            differentiate, if the reference does not fit or raises, if finite differences cannot
            serve, for a tolerance that is not above 0, or for a device that is not there.
    """
    for name, value in (("tolerance", tolerance), ("float32_tolerance", float32_tolerance)):
        if value is not None and not (is_number(value) and value > 0):
            raise ValueError(f"{name}={value!r} must be a number above 0")
    if not isinstance(inputs, Tensor | list | tuple):
        raise ValueError(
            f"inputs is a {type(inputs).__name__}, but must be a tensor, or a list or tuple of the "
            "operator's positional arguments"
        )
    for role, function in (("op", op), ("reference", reference)):
        if isinstance(function, type) and issubclass(function, nn.Module):
            raise ValueError(
                f"{role} is the class {function.__name__}: give a module that it has made, such as "
                f"{function.__name__}(...)"
            )
    given = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    parameters = dict(op.named_parameters()) if isinstance(op, nn.Module) else {}
    names = input_names(op if reference is None or declared(op) else reference, len(given))
    place = _device([given, parameters]) if device is None else _chosen(device)
    call = Call(op, given, parameters, place, names)
    if not call.operands:
        raise ValueError("there is no floating-point tensor among the inputs to differentiate")
    right = None
    if reference is not None:
        _check_fit(reference, parameters)
        right = Call(reference, given, parameters, place, names)
    cuda = [place] if place.type == "cuda" else []
    asking = [(p, p.requires_grad) for p in parameters.values()]
    try:
        with torch.random.fork_rng(devices=cuda), torch.inference_mode(False):
            measurement = Measurement(call, right, tolerance, float32_tolerance)
            measurement.run(second_order)
    finally:  # of a module that cannot be copied
        for parameter, asks in asking:
            parameter.requires_grad_(asks)
    found = measurement.found
    return OpReport(
        title(op),
        "finite differences" if right is None else "its reference",
        tuple(found.tensors),
        tuple(found.faults),
        tuple(found.unsettled),
        (*remarks(call.names, call.given), *found.remarks),
    )


def assert_backward(
    op: Op, inputs: Tensor | Sequence[Any], reference: Op | None = None, **settings: Any
) -> None:
    """Asserts that an operator's gradients are right; takes what `check_op` takes.

    Raises:
        AssertionError: with the text of the report, if anything is wrong.
        ValueError: as `check_op`.
    """
    report = check_op(op, inputs, reference, **settings)
    if not report.right:
        raise AssertionError(f"\n{report}")


def _check_fit(reference: Op, parameters: Mapping[str, Tensor]) -> None:
    """Rejects a module as reference that does not have the parameters of the operator."""
    if isinstance(reference, nn.Module) and parameters:
        shapes = {name: tuple(p.shape) for name, p in reference.named_parameters()}
        wanted = {name: tuple(p.shape) for name, p in parameters.items()}
        if shapes != wanted:
            raise ValueError(f"the reference has the parameters {shapes}; it must have {wanted}")


def _chosen(device: torch.device | str) -> torch.device:
    """The device of this name.

    Raises:
        ValueError: if there is none.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={str(device)!r} cannot be used here: {said(error)}") from error


def _device(tree: Any) -> torch.device:
    """The device of the first tensor."""
    return next((t.device for _, t in floats(tree, "")), torch.device("cpu"))
