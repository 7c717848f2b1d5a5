"""Check a backward pass: `python -m context_agg.check backprop=NAME`.

Puts every tensor of every layer beside float64 autograd, then the operator beside finite
differences; exit code 0 only if all is right. With op=package.module:function an operator of your
own; backprop=all prints what catches which mistake.
"""

import importlib
import inspect
import sys
import time
from collections import defaultdict
from collections.abc import Iterator

import hydra
import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from context_agg.cli.compose import CONF
from context_agg.cli.errors import one_message
from context_agg.cli.keys import check_command_line
from context_agg.cli.quiet import quiet
from context_agg.cli.values import check_values
from context_agg.gradients.agreement import (
    LayerCase,
    align,
    layer_cases,
    layer_tensors,
    network_alignment,
    true_conv,
)
from context_agg.gradients.finite_differences import (
    difference_errors,
    gradcheck_failures,
    gradcheck_operands,
)
from context_agg.networks.context import DilatedConv2d
from context_agg.ops import CONV_OPS, ConvOp
from context_agg.runs.build import build, build_trainer
from context_agg.runs.catch import CHECKS, catch_rows
from context_agg.runs.start_from import start_from
from context_agg.training.learner import Learner

EXACT = 1e-9  # largest difference in float64, in units of the largest true entry
ROUGH = 1e-2  # and in float32: a GPU may round its factors to TF32
STEPS = tuple(10.0**-k for k in range(1, 11))  # of the finite differences
GRADCHECKS = ((1, (7, 7)), (2, (7, 7)), (2, (6, 5)))  # dilation, height and width of the map


def user_op(path: str) -> ConvOp:
    """The operator at package.module:function.

    Raises:
        ValueError: if there is none.
    """
    module, _, name = path.partition(":")
    try:
        op: ConvOp = getattr(importlib.import_module(module), name)
        inspect.signature(op).bind("x", "weight", "bias", "dilation", "relu")
    except Exception as error:  # whatever importing a user's module raises
        raise ValueError(
            f"op={path}: {error}; write package.module:function, importable from here, of a "
            "function (x, weight, bias, dilation, relu=False)"
        ) from error
    return op


def check(cfg: DictConfig) -> bool:
    """Prints all comparisons; returns whether the backward pass is right.

    Raises:
        UserError: for a value that names nothing to check.
    """
    start = time.perf_counter()
    with one_message():
        if isinstance(cfg.op, str):
            CONV_OPS[cfg.op] = user_op(cfg.op)
            cfg.backprop = cfg.op
        check_values(cfg)
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        data, learner = build(cfg)
        start_from(cfg, learner.network, data.spec)
        device = build_trainer(cfg, logger=False).strategy.root_device
        if not any(isinstance(module, DilatedConv2d) for module in learner.network.modules()):
            raise ValueError("this model has no dilated convolution to check")
    op = CONV_OPS[cfg.backprop]
    images, target = data.train.images[: cfg.images], data.train.target[: cfg.images]
    x, target = images.to(device, torch.float64) / 255, target.to(device).long()
    learner.to(device, torch.float64)
    print(
        f"backprop={cfg.backprop} beside float64 autograd on {len(x)} images, {device}\n\n"
        "Every layer by itself, on its own input and gradient, with a random kernel:\n"
    )
    wrong: Findings = defaultdict(list)
    cases = layer_cases(learner.network, learner.loss, x, target)
    for line in layer_lines(op, [with_random_kernel(case) for case in cases], wrong):
        print(line)
    print("\nIn training, where a layer also suffers from the layers after it:\n")
    for line in network_lines(learner, x, target):
        print(line)
    print("\nFinite differences, float64, 2 images of 3 maps, 3x3 kernel:\n")
    for line in difference_lines(op, device, wrong):
        print(line)
    found = "; ".join(
        f"{what} at {', '.join(dict.fromkeys(where))}" for what, where in wrong.items()
    )
    verdict = f"WRONG: {found}" if wrong else "right"
    print(f"\n{cfg.backprop} is {verdict}  ({time.perf_counter() - start:.1f} s)")
    return not wrong


Findings = dict[str, list[str]]
"""What is wrong, and where."""


def with_random_kernel(case: LayerCase) -> LayerCase:
    """The case with weights and biases from N(0, 1 / fan-in).

    The identity, for one, has only middle taps: what a rule does with the others would not show.
    """
    generator = torch.Generator().manual_seed(0)
    std = case.weight[0].numel() ** -0.5

    def draw(like: Tensor) -> Tensor:
        values = torch.randn(like.shape, generator=generator, dtype=like.dtype).mul_(std)
        return values.to(like.device)

    bias = None if case.bias is None else draw(case.bias)
    return case._replace(weight=draw(case.weight), bias=bias)


def layer_lines(op: ConvOp, cases: list[LayerCase], wrong: Findings) -> Iterator[str]:
    """A line for every tensor of every layer, by itself; adds to what is wrong."""
    width = max(len(case.name) for case in cases)
    yield (
        f"{'layer':<{width}}  dilation  tensor       exact  largest difference    cosine    norm  "
        "signs  in float32"
    )
    yield f"{'':<{width}}                                absolute relative             ratio"
    for case in cases:
        true = layer_tensors(true_conv, case, torch.float64)
        try:
            ours = layer_tensors(op, case, torch.float64)
            rough = layer_tensors(op, case, torch.float32)
        except Exception as error:  # whatever a user's operator raises
            wrong["error"].append(case.name)
            yield f"{case.name:<{width}}  {case.dilation:>8}  raised {error!r}"
            continue
        for tensor, expected in true.items():
            difference, largest = relative_difference(ours[tensor], expected)
            if not largest <= EXACT:
                wrong[tensor].append(f"dilation {case.dilation}")
            cosine, ratio, signs = align(ours[tensor], expected)
            in_float32 = relative_difference(rough[tensor], expected)[1]
            if largest <= EXACT and not in_float32 <= ROUGH:
                wrong[f"{tensor} in float32"].append(f"dilation {case.dilation}")
            yield (
                f"{case.name:<{width}}  {case.dilation:>8}  {tensor:<11}  "
                f"{'yes' if largest <= EXACT else 'NO':<5}  {difference:>8.1e} {largest:>8.1e}  "
                f"{cosine:>8.4f} {ratio:>7.4f} {signs:>6.3f}    {in_float32:>8.1e}"
            )


def relative_difference(ours: Tensor, true: Tensor) -> tuple[float, float]:
    """The largest absolute difference, and that in units of the largest true entry."""
    difference = float((ours - true).abs().max())
    scale = float(true.abs().max())
    return difference, difference / scale if scale else (float("inf") if difference else 0.0)


def network_lines(learner: Learner, x: Tensor, target: Tensor) -> Iterator[str]:
    """A line for every trained parameter."""
    try:
        alignments = network_alignment(learner.network, learner.loss, x, target)
    except Exception as error:  # whatever a user's operator raises
        yield f"raised {error!r}"
        return
    width = max(map(len, alignments))
    yield f"{'parameter':<{width}}   cosine   norm ratio   signs"
    for name, (cosine, ratio, signs) in alignments.items():
        yield f"{name:<{width}}  {cosine:>7.4f}  {ratio:>11.4f}  {signs:>6.3f}"


def difference_lines(op: ConvOp, device: torch.device, wrong: Findings) -> Iterator[str]:
    """Gradcheck on three cases, and the error of central differences for ten step sizes."""
    for dilation, size in GRADCHECKS:
        case = f"dilation {dilation} on {size[0]}x{size[1]}"
        failures = gradcheck_failures(op, gradcheck_operands(size, device), dilation)
        if failures:
            wrong["gradcheck"].append(case)
        yield f"gradcheck, {case}: {', '.join(failures) or 'passed'}"
    try:
        errors = difference_errors(op, *gradcheck_operands((7, 7), device), 2, STEPS)
    except Exception as error:  # whatever a user's operator raises
        yield f"central differences: raised {error!r}"
        return
    yield "step eps          " + " ".join(f"{eps:>7.0e}" for eps in STEPS)
    yield "relative error    " + " ".join(f"{error:>7.0e}" for error in errors)


def print_catch_table(cfg: DictConfig) -> None:
    """What catches which mistake, as a table in Markdown, a row as soon as it is known."""
    print(f"| rule | {' | '.join(CHECKS)} |")
    print("| --- |" + " --- |" * len(CHECKS))
    for row in catch_rows(cfg):
        print(f"| {' | '.join(row.values())} |", flush=True)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="check")
def run(cfg: DictConfig) -> None:
    """Checks, and exits with 1 if something is wrong."""
    quiet()
    torch.set_num_threads(1)  # the tensors are small: threads would wait for each other
    if cfg.backprop == "all" and cfg.op is None:
        with one_message():
            one = OmegaConf.merge(cfg, {"backprop": "auto"})
            assert isinstance(one, DictConfig)
            check_values(one)
            if "init" not in cfg.model:
                raise ValueError("backprop=all compares initialisations; take model=basic or large")
            if cfg.start_from is not None:
                raise ValueError(
                    f"start_from={cfg.start_from}: backprop=all begins anew; leave it out"
                )
            build(one)
        print_catch_table(cfg)
    elif not check(cfg):
        sys.exit(1)


def main() -> None:
    """The command."""
    if {"-m", "--multirun"} & set(sys.argv[1:]):
        sys.exit("one check at a time: backprop=NAME, or backprop=all for the table of all rules")
    check_command_line(sys.argv[1:], "check")
    run()


if __name__ == "__main__":
    main()
