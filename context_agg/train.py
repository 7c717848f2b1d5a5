"""Train a network: `python -m context_agg.train model=basic backprop=manual`. Read this first."""

if __name__ == "__main__":
    from context_agg.cli import ranks, signals

    ranks.prepare()
    signals.install() if ranks.leads() else signals.leave()  # now, as the imports take time

import math
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from context_agg.cli import orders, ranks, signals, streams
from context_agg.cli.compose import COMMAND, CONF
from context_agg.cli.errors import (
    UserError,
    exit_on_closed_pipe,
    exit_on_mistake,
    exit_without_hydra,
    one_message,
)
from context_agg.cli.keys import check_command_line
from context_agg.cli.quiet import quiet
from context_agg.cli.resume import requested
from context_agg.cli.sweeps import settings_of

if TYPE_CHECKING:
    import lightning as L


def train(
    cfg: DictConfig,
    output_dir: Path,
    model: str = "model",
    *,
    grow: bool = False,
    callbacks: Sequence["L.Callback"] = (),
    shown: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Fits, then tests the best checkpoint; writes everything the run makes to output_dir.

    If the same run has finished before, returns its scores; one that was cut off goes on.

    Args:
        cfg: the whole configuration.
        output_dir: the run's directory.
        model: what to call the model when printing what will be trained.
        grow: whether a finished run goes on if `cfg` has more epochs.
        callbacks: more of them than `cfg` has; they keep no state.
        shown: the settings that TensorBoard's HPARAMS tab tells the run by.

    Raises:
        UserError: for a value that is not valid; nothing has been written by then. For a loss that
            is no longer finite, a full disk, a file that cannot be read when it is needed, or an
            operation that determinism=strict does not allow; the last good checkpoint is kept.
        Stopped: if a signal ends the run; it is kept up to the last step.
    """
    # imported here, so that a mistake on the command line is reported before Lightning loads
    import torch

    from context_agg.runs.claim import claim, holder
    from context_agg.runs.finished import finished_scores

    with ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())  # a run can set its own
        with one_message():
            ranks.check(cfg)
            if scores := finished_scores(output_dir, cfg, grow=grow):
                print(f"finished before: {output_dir}")
                return scores
            stack.enter_context(claim(output_dir))
        with orders.agreed():
            orders.give(
                config=OmegaConf.to_yaml(cfg),
                output_dir=str(output_dir),
                holder=holder(output_dir),
                model=model,
                grow=grow,
            )
        return _fit_and_test(cfg, output_dir, model, callbacks, shown or {}, grow=grow)


def _fit_and_test(
    cfg: DictConfig,
    output_dir: Path,
    model: str,
    more: Sequence["L.Callback"],
    shown: Mapping[str, Any],
    *,
    grow: bool,
) -> dict[str, float]:
    from context_agg.callbacks.last_checkpoint import LastCheckpoint
    from context_agg.data.batches import Shard
    from context_agg.runs import build, curves, directory, load, resume, summary
    from context_agg.runs.endings import explained
    from context_agg.runs.records import NEEDED
    from context_agg.runs.start_from import load_start
    from context_agg.training.arithmetic import compile_kernels

    with orders.agreed(), one_message():
        cut_off = resume.cut_off(output_dir, cfg, grow=grow)
        data, learner = build.build(cfg, Shard(ranks.rank(), ranks.count()))
        if cut_off is None:
            load_start(cfg, learner.network, data.spec)
        last = LastCheckpoint(**cfg.checkpoint)
        logger = build.build_logger(output_dir, purge_step=cut_off.logged if cut_off else 0)
        callbacks = [*build.build_callbacks(cfg, data.spec), *more, last]
        trainer = build.build_trainer(cfg, together=True, logger=logger, callbacks=callbacks)
        if cut_off is not None:
            strict = cfg.determinism == "strict"
            print(f"goes on    {resume.check_same(cut_off, learner, trainer, strict=strict)}")
            last.step = cut_off.state["step"]
        compile_kernels(learner, trainer.strategy.root_device, str(trainer.precision))
        if ranks.leads():  # a signal that only another process has got waits for the first step
            signals.at_once(None)
            signals.check()

    with explained(output_dir, last):
        if ranks.leads():
            if cut_off is None:
                directory.clear(output_dir)
            directory.begin(output_dir, cfg, data.spec)
        print(summary.describe_start(cfg, model, data, learner.network, trainer, output_dir))
        if cut_off is None:
            settings: Any = OmegaConf.to_container(cfg, resolve=True)
            logger.log_hyperparams(settings)
            logger.begin(shown, dense=data.spec.dense)
        trainer.fit(learner, data, ckpt_path=cut_off.file if cut_off else None)
        scores = summary.fit_scores(trainer, last.scalars, last.seconds)
        signals.at_once(lambda: summary.kept(output_dir, last.step))
        trainer.logger = build.build_logger(output_dir, purge_step=last.logged)
        with one_message():
            best = load.read_weights(output_dir)
            load.load_weights(learner.network, best, output_dir)
        (tests,) = trainer.test(learner, data, verbose=False)
        scores |= tests
        if ranks.leads():
            curves.save_curves(output_dir, data.held_out_name)
        if bad := [name for name in scores if name in NEEDED and not math.isfinite(scores[name])]:
            raise UserError(f"{bad[0]} is {scores[bad[0]]}, so the run has no result")
        signals.at_once(None)
        if ranks.leads():
            directory.write_scores(output_dir, scores)
        print(summary.describe_end(scores, output_dir))
    return scores


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=COMMAND)
def run(cfg: DictConfig) -> dict[str, float]:
    """Trains in the run directory that Hydra has made; the scores of a stopped run are empty."""
    hydra_cfg = HydraConfig.get()
    output_dir = Path(hydra_cfg.runtime.output_dir)
    if output_dir.is_relative_to(Path.cwd()):
        output_dir = output_dir.relative_to(Path.cwd())  # shorter to read and to copy
    from context_agg.runs import claim
    from context_agg.runs.directory import SETTINGS, forget

    def leave() -> str:
        claim.leave(output_dir)
        forget(output_dir)
        return signals.NOTHING

    single = hydra_cfg.mode is RunMode.RUN
    try:
        with exit_without_hydra() if single else nullcontext(), exit_on_closed_pipe():
            if single:
                signals.at_once(leave)
            signals.check()
            quiet()
            choices = hydra_cfg.runtime.choices
            shown = settings_of(cfg, choices, list(hydra_cfg.overrides.task))
            return train(cfg, output_dir, choices["model"], shown=shown)
    except signals.Stopped as stopped:
        if single:
            raise
        if (output_dir / SETTINGS).is_file():
            print(stopped)
        return {}  # and the sweep ends the command
    finally:
        signals.at_once(None)
        forget(output_dir)


def go_on(run_dir: Path, overrides: Sequence[str]) -> None:
    """Goes on with a run that was cut off, with the settings that it has."""
    from context_agg.runs import resume

    with exit_on_mistake():
        with one_message():
            cfg = resume.settings(run_dir, overrides)
        quiet()
        train(cfg, run_dir, cfg.model._target_.rpartition(".")[2], grow=True)


def follow() -> None:
    """Trains beside rank 0, which says what, and speaks and writes for all."""
    from context_agg.runs.claim import holder

    sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what PyTorch says if rank 0 is killed
    try:
        order = orders.take()
        signals.follow(os.getppid())
        output_dir = Path(order["output_dir"])
        with orders.agreed():
            if holder(output_dir) != order["holder"]:
                raise UserError(
                    f"{output_dir.absolute()} is not the folder that rank 0 writes to; all "
                    "machines of a run must share it: name one with hydra.run.dir=DIR"
                )
        quiet()
        warnings.simplefilter("ignore")  # rank 0 has the same
        cfg = OmegaConf.create(order["config"])
        _fit_and_test(cfg, output_dir, order["model"], (), {}, grow=order["grow"])
    except UserError as error:
        signals.check()  # then rank 0 has told of it
        sys.exit(str(error) if orders.first_to_say(str(error)) else 1)


def main() -> None:
    """Runs the command."""
    arguments = sys.argv[1:]
    streams.prepare()
    if not ranks.leads():
        follow()
        return
    signals.install()
    with orders.leading(), signals.exit_when_stopped():
        signals.at_once(lambda: signals.NOTHING)
        if directory_and_overrides := requested(arguments):
            go_on(*directory_and_overrides)
            return
        configs = check_command_line(arguments)
        if len(configs) > 1:
            from context_agg.runs.build import check_parts

            with exit_on_mistake(), one_message():
                check_parts(configs)
        run()


if __name__ == "__main__":
    main()
