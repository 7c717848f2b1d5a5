"""The report of `context_agg.check` as text."""

from collections.abc import Iterator, Sequence

from context_agg.gradients.backward_report import BackwardReport, Raised, TensorCheck


def report_lines(report: BackwardReport) -> Iterator[str]:
    """Formats the report as three tables."""
    yield "\nEach layer by itself, on its own input and gradient, with a random kernel:\n"
    yield from layer_lines(report.layers)
    yield "\nIn training, where errors of later layers reach the earlier ones:\n"
    if isinstance(report.parameters, Raised):
        yield f"raised {report.parameters.error}"
    else:
        width = max(map(len, report.parameters))
        yield f"{'parameter':<{width}}   cosine   norm ratio   signs"
        for name, check in report.parameters.items():
            cosine, ratio, signs = check.alignment
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
