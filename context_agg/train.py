"""Train a network: `python -m context_agg.train model=basic backprop=manual`. Read this first."""

import sys
import time
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from context_agg.cli.compose import COMMAND, CONF
from context_agg.cli.errors import exit_on_closed_pipe, exit_on_mistake, one_message
from context_agg.cli.keys import check_command_line
from context_agg.cli.quiet import quiet


def train(cfg: DictConfig, output_dir: Path, model: str = "model") -> dict[str, float]:
    """Fits, then tests the best checkpoint; writes everything the run makes to output_dir.

    If the same run has finished before, returns its scores; an interrupted run starts over.

    Args:
        cfg: the whole configuration.
        output_dir: the run's directory.
        model: what to call the model when printing what will be trained.

    Raises:
        UserError: for a value that is not valid; nothing has been written by then.
    """
    # imported here, so that a mistake on the command line is reported before Lightning loads
    from lightning.pytorch.loggers import TensorBoardLogger

    from context_agg.runs import build, curves, directory, load, summary
    from context_agg.runs.start_from import start_from

    with one_message():
        if scores := directory.finished_scores(output_dir, cfg):
            print(f"finished before: {output_dir}")
            return scores
        data, learner = build.build(cfg)
        start_from(cfg, learner.network, data.spec)
        callbacks = build.build_callbacks(cfg, data.spec)
        logger = TensorBoardLogger(output_dir, name="", version="", default_hp_metric=False)
        trainer = build.build_trainer(cfg, logger=logger, callbacks=callbacks)
    directory.begin(output_dir, cfg, data.spec)
    logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    print(summary.describe_start(cfg, model, data, learner.network, trainer, output_dir))

    start = time.perf_counter()
    trainer.fit(learner, data)
    scores = summary.fit_scores(trainer, time.perf_counter() - start)
    learner.network.load_state_dict(load.read_weights(output_dir))  # the best, as evaluate does
    (tests,) = trainer.test(learner, data, verbose=False)

    scores |= tests
    curves.save_curves(output_dir, data.held_out_name)
    directory.write_scores(output_dir, scores)
    print(summary.describe_end(scores, output_dir))
    return scores


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=COMMAND)
def run(cfg: DictConfig) -> dict[str, float]:
    """Trains in the run directory that Hydra has made."""
    quiet()
    hydra_cfg = HydraConfig.get()
    output_dir = Path(hydra_cfg.runtime.output_dir)
    if output_dir.is_relative_to(Path.cwd()):
        output_dir = output_dir.relative_to(Path.cwd())  # shorter to read and to copy
    with exit_on_closed_pipe():
        return train(cfg, output_dir, hydra_cfg.runtime.choices["model"])


def main() -> None:
    """Runs the command."""
    configs = check_command_line(sys.argv[1:])
    if len(configs) > 1:
        from context_agg.runs.build import check_parts

        with exit_on_mistake(), one_message():
            check_parts(configs)
    run()


if __name__ == "__main__":
    main()
