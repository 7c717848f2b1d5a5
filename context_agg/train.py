"""Train a network: `python -m context_agg.train model=basic backprop=manual`. Read this first."""

import sys
import time
from pathlib import Path

import hydra
import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from context_agg.callbacks.best_checkpoint import BestCheckpoint
from context_agg.cli.compose import CONF, CONFIG_NAME
from context_agg.cli.errors import one_message
from context_agg.cli.keys import check_command_line
from context_agg.cli.quiet import quiet
from context_agg.cli.values import check_values
from context_agg.runs.build import build, build_trainer
from context_agg.runs.curves import save_curves
from context_agg.runs.directory import begin, finished_scores, write_scores
from context_agg.runs.graph import write_graph
from context_agg.runs.load import read_weights
from context_agg.runs.start_from import start_from
from context_agg.runs.summary import describe_end, describe_start


def train(cfg: DictConfig, output_dir: Path, model: str = "model") -> dict[str, float]:
    """Fits, then tests the best checkpoint; writes everything the run makes to output_dir.

    Where this very run has finished before, returns its scores; one that was cut off starts anew.

    Raises:
        UserError: for a value that names no run; nothing has been written then.
    """
    with one_message():
        check_values(cfg)
        if scores := finished_scores(output_dir, cfg):
            print(f"finished before: {output_dir}")
            return scores
        L.seed_everything(cfg.seed, workers=True, verbose=False)
        data, learner = build(cfg)
        start_from(cfg, learner.network, data.spec)
        logger = TensorBoardLogger(output_dir, name="", version="", default_hp_metric=False)
        callbacks = list(instantiate(cfg.callbacks).values())
        for callback in callbacks:
            if isinstance(callback, BestCheckpoint):
                callback.choose(data.spec)
        trainer = build_trainer(cfg, logger=logger, callbacks=callbacks)
    begin(output_dir, cfg, data.spec)
    logger.log_hyperparams(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    try:
        write_graph(logger.experiment, learner.network, data.spec)
    except RuntimeError as error:  # a network of the user's that cannot be traced
        print(f"no graph for TensorBoard: {str(error).splitlines()[0]}")
    print(describe_start(model, learner.network, data, trainer.strategy.root_device, output_dir))
    if cfg.start_from is not None:
        print(f"begins     with the weights of {cfg.start_from}")
    start = time.perf_counter()
    trainer.fit(learner, data)
    scores = {
        "epochs": trainer.current_epoch,
        "seconds": time.perf_counter() - start,
        "final/accuracy": float(trainer.callback_metrics["val/accuracy"]),
        "train/images_per_second": float(trainer.callback_metrics["train/images_per_second"]),
    }
    learner.network.load_state_dict(read_weights(output_dir))  # the best, and as `evaluate` does
    (tests,) = trainer.test(learner, data, verbose=False)
    scores |= tests
    save_curves(output_dir, data.held_out_name)
    write_scores(output_dir, scores)
    print(describe_end(scores, output_dir))
    return scores


@hydra.main(version_base="1.3", config_path=str(CONF), config_name=CONFIG_NAME)
def run(cfg: DictConfig) -> dict[str, float]:
    """Trains in the run directory that Hydra has made."""
    quiet()
    hydra_cfg = HydraConfig.get()
    output_dir = Path(hydra_cfg.runtime.output_dir)
    if output_dir.is_relative_to(Path.cwd()):
        output_dir = output_dir.relative_to(Path.cwd())  # shorter to read and to copy
    return train(cfg, output_dir, hydra_cfg.runtime.choices["model"])


def main() -> None:
    """The command."""
    check_command_line(sys.argv[1:])
    run()


if __name__ == "__main__":
    main()
