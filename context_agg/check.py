"""Check a backward pass: `python -m context_agg.check backprop=NAME`.

Compares every tensor of every layer with float64 autograd, then the operator with finite
differences; the exit code is 0 only if all is right. op=package.module:function checks an operator
of your own, and with inputs=package.module:function any function of tensors. backprop=all prints
which check catches which mistake.
"""

import inspect
import json
import sys
import time
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import DictConfig, OmegaConf

from context_agg.cli.compose import CONF, composed_once
from context_agg.cli.errors import exit_without_hydra, one_message
from context_agg.cli.keys import check_command_line
from context_agg.cli.quiet import quiet

if TYPE_CHECKING:
    from context_agg.ops import ConvOp


def check(cfg: DictConfig) -> bool:
    """Measures a backward pass, prints the report, and returns whether the pass is right.

    Raises:
        UserError: for a value that is not valid.
    """
    # not at the top: a mistake on the command line is answered before torch is imported
    import torch

    from context_agg.gradients.backward_report import measure_backward
    from context_agg.gradients.report_text import report_lines
    from context_agg.networks.context import DilatedConv2d
    from context_agg.ops import get_conv_op
    from context_agg.runs.build import accelerator, build
    from context_agg.runs.start_from import load_start

    start = time.perf_counter()
    with one_message():
        if cfg.op is not None:  # takes the place of backprop
            cfg = OmegaConf.merge(cfg, {"backprop": "auto"})  # type: ignore[assignment]
        data, learner = build(cfg)
        load_start(cfg, learner.network, data.spec)
        op = get_conv_op(cfg.backprop) if cfg.op is None else user_op(cfg.op)
        if not any(isinstance(module, DilatedConv2d) for module in learner.network.modules()):
            raise ValueError("this model has no dilated convolution to check")
    name, device = cfg.op or cfg.backprop, torch.device(accelerator(cfg))
    learner.to(device, torch.float64)
    x, target = (part.to(device) for part in data.train.batch(slice(cfg.images), torch.float64))
    report = measure_backward(op, learner.network, learner.loss, x, target)
    print(f"backprop={name} against float64 autograd on {len(x)} images, {device}")
    print(*report_lines(report), sep="\n")
    found = "; ".join(f"{what} at {', '.join(where)}" for what, where in report.wrong.items())
    verdict = f"WRONG: {found}" if report.wrong else "right"
    print(f"\n{name} is {verdict}  ({time.perf_counter() - start:.1f} s)")
    return not report.wrong


def check_any(cfg: DictConfig) -> bool:
    """Checks any function of tensors on inputs of the user's, prints what it finds.

    Raises:
        UserError: for a value that is not valid.
    """
    from context_agg.gradients import check_op

    with one_message():
        op, make_inputs = user_object("op", cfg.op), user_object("inputs", cfg.inputs)
        reference = None if cfg.reference is None else user_object("reference", cfg.reference)
        try:
            inputs = make_inputs()
        except (Exception, SystemExit) as error:  # whatever a user's function raises
            raise ValueError(f"inputs={cfg.inputs} raised {error!r}") from error
        report = check_op(
            op,
            inputs,
            reference,
            second_order=cfg.second_order,
            device="cuda" if cfg.trainer.accelerator == "cuda" else None,
            tolerance=cfg.tolerance,
            float32_tolerance=cfg.float32_tolerance,
        )
    print(json.dumps(report.as_json(), indent=2) if cfg.format == "json" else report)
    return report.right


ONLY_WITH_INPUTS = ("reference", "format", "tolerance", "float32_tolerance", "second_order")
"""Keys that only the check of any function of tensors reads."""


def check_together(cfg: DictConfig) -> None:
    """Rejects keys that need others.

    Raises:
        UserError: for such a key.
    """
    usual = composed_once(command="check")
    with one_message():
        if cfg.op is not None and cfg.backprop != usual.backprop:
            raise ValueError(
                f"backprop={cfg.backprop} has no effect beside op={cfg.op}: leave one of them out"
            )
        if cfg.inputs is not None and cfg.op is None:
            raise ValueError(f"inputs={cfg.inputs} needs op=package.module:function")
        for key in ONLY_WITH_INPUTS:
            if cfg.inputs is None and cfg[key] != usual[key]:
                raise ValueError(
                    f"{key}={cfg[key]} has no effect without inputs=package.module:function, a "
                    "function that returns the inputs of op"
                )


def user_object(key: str, path: str) -> Any:
    """Imports what is at package.module:name; the name may have dots, as in Layer.apply.

    Raises:
        ValueError: if there is nothing to call.
    """
    try:
        found = resolve_name(path)
    except (Exception, SystemExit) as error:  # whatever importing a user's module raises
        raise ValueError(
            f"{key}={path}: {error}; write package.module:function for what can be imported here"
        ) from error
    if not callable(found):
        raise ValueError(f"{key}={path} is no function; write package.module:function")
    return found


def user_op(path: str) -> "ConvOp":
    """Imports the operator at package.module:function.

    Raises:
        ValueError: if there is no such operator.
    """
    op: ConvOp = user_object("op", path)
    try:
        inspect.signature(op).bind("x", "weight", "bias", "dilation", "relu")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"op={path}: {error}; without inputs= it must be a function "
            "(x, weight, bias, dilation, relu=False)"
        ) from error
    return op


def print_catch_table(cfg: DictConfig) -> None:
    """Prints which check catches which mistake, a Markdown table, each row when it is known.

    Raises:
        UserError: for a value that the table does not support.
    """
    from context_agg.runs.catch import CHECKS, catch_rows

    with one_message():
        rows = catch_rows(cfg)
    print(f"| rule | {' | '.join(CHECKS)} |")
    print("| --- |" + " --- |" * len(CHECKS))
    for row in rows:
        print(f"| {' | '.join(row.values())} |", flush=True)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="check")
def run(cfg: DictConfig) -> None:
    """Runs the check; exits with 1 if something is wrong."""
    import torch

    quiet()
    torch.set_num_threads(1)  # the tensors are so small that threads only wait
    with exit_without_hydra():
        check_together(cfg)
        if cfg.backprop == "all" and cfg.op is None:
            print_catch_table(cfg)
        elif not (check(cfg) if cfg.inputs is None else check_any(cfg)):
            sys.exit(1)


def main() -> None:
    """Runs the command."""
    check_command_line(sys.argv[1:], "check")
    run()


if __name__ == "__main__":
    main()
