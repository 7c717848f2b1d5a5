"""Write a backward pass of your own: `python -m context_agg.exercise [FILE]`.

Writes FILE, if there is none, with a layer whose backward pass is left for you. Called again, it
compares what you have written with finite differences, and says what is wrong.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from context_agg.cli.errors import UserError, exit_on_mistake, one_message
from context_agg.cli.parser import command_parser

FILE = Path("my_backward.py")
GRADIENTS = ("grad_x", "grad_weight", "grad_bias")

TEMPLATE = '''"""The backward pass of a dilated convolution with a ReLU, to be written.

The forward pass: for every output map k and every pixel p,

    z[k, p] = bias[k] + sum over maps c and taps t of weight[k, c, t] x[c, p + dilation t]
    y = max(z, 0)

Here t counts from the middle of the kernel, so a 3x3 kernel has t = (-1, -1) ... (1, 1), and x is
0 outside the image. docs/method.md derives the answer; try it without.
"""

import torch.nn.functional as F


def forward(x, weight, bias, dilation):
    """x (N, C, H, W), weight (K, C, 3, 3), bias (K,) -> y (N, K, H, W)."""
    return F.conv2d(x, weight, bias, padding=dilation, dilation=dilation).relu()


def backward(grad_output, x, weight, y, dilation):
    """grad_output and y (N, K, H, W) -> grad_x, grad_weight, grad_bias.

    Each has the shape of x, weight or bias. Leave None for what you have not written yet; begin
    with grad_bias, which is the shortest.
    """
    grad_x = None
    grad_weight = None
    grad_bias = None
    return grad_x, grad_weight, grad_bias
'''


def check_name(file: Path) -> None:
    """Rejects a name that Python would not import, before anything is written to it.

    Raises:
        UserError: if it does not end in .py.
    """
    if file.suffix != ".py":
        raise UserError(f"{file} is no Python file: its name has to end in .py")


def write(file: Path) -> None:
    """Writes the exercise."""
    file.write_text(TEMPLATE)
    print(f"{file} is written: fill in its backward, then call this again")


def read(file: Path) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The functions forward and backward of a user's file.

    Raises:
        ValueError: if the file cannot be imported, or lacks one of them.
    """
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        forward, backward = module.forward, module.backward
    except Exception as error:  # whatever a user's file raises
        raise ValueError(f"{file}: {type(error).__name__}: {error}") from error
    return forward, backward


def check_gradients(grads: Any, shapes: Sequence[tuple[int, ...]]) -> None:
    """Rejects what a user's backward returns if it is not a gradient, or None, for each operand.

    Raises:
        ValueError: for another number of gradients, or another shape.
    """
    returned = grads if isinstance(grads, tuple | list) else (grads,)
    if len(returned) != len(GRADIENTS):
        number = "one value" if len(returned) == 1 else f"{len(returned)} values"
        raise ValueError(f"it returns {number}, but must return {', '.join(GRADIENTS)}")
    for name, grad, shape in zip(GRADIENTS, returned, shapes, strict=True):
        if grad is not None and (found := tuple(grad.shape)) != shape:
            of = name.removeprefix("grad_")
            raise ValueError(f"{name} has the shape {found}, but that of {of} is {shape}")


def check(file: Path) -> bool:
    """Checks a user's backward pass, prints what it finds, and returns whether it is right.

    Raises:
        UserError: if the file cannot be read.
    """
    import torch

    from context_agg.gradients import check_op

    with one_message():
        forward, backward = read(file)
    dilation = 2
    unwritten: set[str] = set()

    class Layer(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
            y = forward(x, weight, bias, dilation)
            ctx.save_for_backward(x, weight, y)
            return y

        @staticmethod
        def backward(ctx: Any, grad_output: Any) -> Any:
            x, weight, y = ctx.saved_tensors
            grads = backward(grad_output, x, weight, y, dilation)
            check_gradients(grads, shapes)
            unwritten.update(
                name for name, grad in zip(GRADIENTS, grads, strict=True) if grad is None
            )
            return grads

    generator = torch.Generator().manual_seed(0)
    shapes = (2, 2, 7, 7), (2, 2, 3, 3), (2,)
    inputs = [torch.randn(shape, generator=generator) for shape in shapes]
    report = check_op(Layer, inputs)
    print(report)
    if unwritten:
        written = [name for name in GRADIENTS if name in unwritten]
        print(f"still to be written: {', '.join(written)}")
    return report.right


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("exercise", __doc__)
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, default=FILE, help=f"by default {FILE}"
    )
    file = parser.parse_args(arguments).file
    check_name(file)
    if not file.exists():
        with one_message():
            write(file)
    elif not check(file):
        sys.exit(1)


if __name__ == "__main__":
    main()
