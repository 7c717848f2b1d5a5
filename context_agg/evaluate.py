"""Test a trained run again: `python -m context_agg.evaluate DIR`.

Rebuilds data and network from the run's configuration, loads its best checkpoint, and prints the
test scores beside those that the run has recorded.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from context_agg.cli.errors import exit_on_mistake, one_message
from context_agg.cli.parser import command_parser
from context_agg.cli.quiet import quiet
from context_agg.runs.directory import METRICS
from context_agg.runs.records import check_spec, read_scores


def evaluate(run_dir: Path) -> dict[str, float]:
    """The test scores of a run's best checkpoint, on CUDA if there is a device, else on the CPU.

    Raises:
        UserError: if the directory holds no trained run, a file of it is damaged, or its data
            cannot be found.
    """
    from context_agg.runs.load import load_network  # torch
    from context_agg.runs.settings import built_from, read_settings

    with one_message():
        cfg = read_settings(run_dir)
        cfg.trainer.accelerator = "auto"  # the device here, whatever it was trained on
        network, _ = load_network(run_dir)  # before data are read: its files fit together
        quiet()
        from context_agg.runs.build import build_data, build_learner, build_trainer  # Lightning

        with built_from(run_dir):
            data = build_data(cfg)
            check_spec(run_dir, data.spec)
            learner = build_learner(cfg, network, data)
        trainer = build_trainer(cfg, logger=False, enable_checkpointing=False)
    (scores,) = trainer.test(learner, data, verbose=False)
    return dict(scores)


@exit_on_mistake()
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_parser("evaluate", __doc__)
    parser.add_argument("run_dir", metavar="DIR", type=Path, help="directory of a run")
    run_dir = parser.parse_args(arguments).run_dir
    recorded = read_scores(run_dir) if os.path.lexists(run_dir / METRICS) else {}
    scores = evaluate(run_dir)
    for name, value in scores.items():
        note = "not recorded by the run"
        if name in recorded:
            difference = value - recorded[name]
            note = f"recorded {recorded[name]:.6f}, difference {difference:.1g}"
        print(f"{name:<14} {value:.6f}  ({note})")


if __name__ == "__main__":
    main()
