"""Check a backward pass: `python -m context_agg.check backprop=NAME`.

Compares every tensor of every layer with float64 autograd, then the operator with finite
differences; the exit code is 0 only if all is right. op=package.module:function checks an operator
of your own; backprop=all prints which check catches which mistake.
"""

import importlib
import inspect
import sys
import time
from collections.abc import Iterator, Sequence

import hydra
import torch
from omegaconf import DictConfig

from context_agg.cli.compose import CONF
from context_agg.cli.errors import one_message
from context_agg.cli.keys import check_command_line
from context_agg.cli.quiet import quiet
from context_agg.gradients.backward_report import (
    BackwardReport,
    Raised,
    TensorCheck,
    measure_backward,
)
from context_agg.networks.context import DilatedConv2d
from context_agg.ops import ConvOp, get_conv_op


def check(cfg: DictConfig) -> bool:
    """Measures a backward pass, prints the report, and returns whether the pass is right.

    Raises:
        UserError: for a value that is not valid.
    """
    from context_agg.runs.build import accelerator, build  # Lightning takes seconds
    from context_agg.runs.start_from import start_from

    start = time.perf_counter()
    with one_message():
        data, learner = build(cfg)
        start_from(cfg, learner.network, data.spec)
        op = get_conv_op(cfg.backprop) if cfg.op is None else user_op(cfg.op)
        if not any(isinstance(module, DilatedConv2d) for module in learner.network.modules()):
            raise ValueError("this model has no dilated convolution to check")
    name, device = cfg.op or cfg.backprop, torch.device(accelerator(cfg))
    learner.to(device, torch.float64)
    x, target = (part.to(device) for part in data.train.batch(slice(cfg.images), torch.float64))
    report = measure_backward(op, learner.network, learner.loss, x, target)
    print(f"backprop={name} against float64 autograd on {len(x)} images, {device}")
    print(*lines(report), sep="\n")
    found = "; ".join(f"{what} at {', '.join(where)}" for what, where in report.wrong.items())
    verdict = f"WRONG: {found}" if report.wrong else "right"
    print(f"\n{name} is {verdict}  ({time.perf_counter() - start:.1f} s)")
    return not report.wrong


def user_op(path: str) -> ConvOp:
    """Imports the operator at package.module:function.

    Raises:
        ValueError: if there is no such operator.
    """
    module, _, name = path.partition(":")
    try:
        op: ConvOp = getattr(importlib.import_module(module), name)
        inspect.signature(op).bind("x", "weight", "bias", "dilation", "relu")
    except Exception as error:  # whatever importing a user's module raises
        raise ValueError(
            f"op={path}: {error}; write package.module:function for an importable function "
            "(x, weight, bias, dilation, relu=False)"
        ) from error
    return op


def lines(report: BackwardReport) -> Iterator[str]:
    """Formats the report as three tables."""
    yield "\nEach layer by itself, on its own input and gradient, with a random kernel:\n"
    yield from layer_lines(report.layers)
    yield "\nIn training, where errors of later layers reach the earlier ones:\n"
    if isinstance(report.parameters, Raised):
        yield f"raised {report.parameters.error}"
    else:
        width = max(map(len, report.parameters))
        yield f"{'parameter':<{width}}   cosine   norm ratio   signs"
        for name, (cosine, ratio, signs) in report.parameters.items():
            yield f"{name:<{width}}  {cosine:>7.4f}  {ratio:>11.4f}  {signs:>6.3f}"
    yield "\nFinite differences, float64, 2 images of 3 maps, 3x3 kernel:\n"
    for case, failures in report.gradchecks.items():
        yield f"gradcheck, {case}: {', '.join(failures) or 'passed'}"
    if isinstance(report.differences, Raised):
        yield f"central differences: raised {report.differences.error}"
    else:
        yield "step eps          " + " ".join(f"{eps:>7.0e}" for eps in report.differences)
        errors = report.differences.values()
        yield "relative error    " + " ".join(f"{error:>7.0e}" for error in errors)


def layer_lines(checks: Sequence[TensorCheck | Raised]) -> Iterator[str]:
    """Formats a line for every tensor of every layer."""
    width = max(len(check.layer) for check in checks)
    yield (
        f"{'layer':<{width}}  dilation  tensor       exact  largest difference    cosine    norm  "
        "signs  in float32"
    )
    yield f"{'':<{width}}                                absolute relative             ratio"
    for check in checks:
        where = f"{check.layer:<{width}}  {check.dilation:>8}"
        if isinstance(check, Raised):
            yield f"{where}  raised {check.error}"
            continue
        cosine, ratio, signs = check.alignment
        yield (
            f"{where}  {check.tensor:<11}  {'yes' if check.exact else 'NO':<5}  "
            f"{check.difference:>8.1e} {check.relative:>8.1e}  "
            f"{cosine:>8.4f} {ratio:>7.4f} {signs:>6.3f}    {check.in_float32:>8.1e}"
        )


def print_catch_table(cfg: DictConfig) -> None:
    """Prints which check catches which mistake, a Markdown table, each row when it is known.

    Raises:
        UserError: for a value that the table does not support.
    """
    from context_agg.runs.catch import CHECKS, catch_rows  # Lightning takes seconds

    with one_message():
        rows = catch_rows(cfg)
    print(f"| rule | {' | '.join(CHECKS)} |")
    print("| --- |" + " --- |" * len(CHECKS))
    for row in rows:
        print(f"| {' | '.join(row.values())} |", flush=True)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="check")
def run(cfg: DictConfig) -> None:
    """Runs the check; exits with 1 if something is wrong."""
    quiet()
    torch.set_num_threads(1)  # the tensors are so small that threads only wait
    if cfg.backprop == "all" and cfg.op is None:
        print_catch_table(cfg)
    elif not check(cfg):
        sys.exit(1)


def main() -> None:
    """Runs the command."""
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit("check takes one rule at a time: backprop=NAME, or backprop=all for a table")
    check_command_line(sys.argv[1:], "check")
    run()


if __name__ == "__main__":
    main()
