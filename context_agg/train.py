"""Train a network: `python -m context_agg.train model=basic backprop=manual`. Read this first."""

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import hydra
import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf

from context_agg.analysis.curves import save_curves
from context_agg.data.images import ImageData
from context_agg.learner import Learner
from context_agg.run_directory import clear, finished_scores, write_scores
from context_agg.summary import describe_end, describe_start

CONF = Path(__file__).parents[1] / "conf"
NOT_FOR_US = (
    r".*does not have many workers",  # batches are picked out of tensors in memory
    r".*LeafSpec.* is deprecated",  # Lightning 2.6 calls what torch 2.15 has renamed
)


def build(cfg: DictConfig) -> tuple[ImageData, Learner]:
    """Data and learner of one configuration."""
    data: ImageData = instantiate(cfg.data)
    network = instantiate(cfg.model, **data.shapes)
    if cfg.compile:
        network.compile()
    optimizer = instantiate(cfg.optimizer, list(network.parameters()))
    return data, Learner(network, optimizer, data.num_classes)


def choose_accelerator(name: str) -> str:
    """Turns `auto` into CUDA or the CPU, never MPS: its convolutions have had wrong gradients."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def train(cfg: DictConfig, output_dir: Path, model: str = "model") -> dict[str, float]:
    """Fits, then tests the best checkpoint; writes everything the run makes to output_dir.

    Where this very run has finished before, returns its scores; one that was cut off starts anew.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    if scores := finished_scores(output_dir, settings):
        print(f"finished before: {output_dir}")
        return scores
    clear(output_dir)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data, learner = build(cfg)
    logger = TensorBoardLogger(output_dir, name="", version="", default_hp_metric=False)
    trainer: L.Trainer = instantiate(
        cfg.trainer,
        accelerator=choose_accelerator(cfg.trainer.accelerator),
        logger=logger,
        enable_progress_bar=sys.stdout.isatty(),
        _convert_="all",
    )
    logger.log_hyperparams(settings)
    print(describe_start(model, learner.network, data, trainer.strategy.root_device, output_dir))
    start = time.perf_counter()
    trainer.fit(learner, data)
    scores = {
        "epochs": trainer.current_epoch,
        "seconds": time.perf_counter() - start,
        "final/accuracy": float(trainer.callback_metrics["val/accuracy"]),
        "train/images_per_second": float(trainer.callback_metrics["train/images_per_second"]),
    }
    (tests,) = trainer.test(learner, data, ckpt_path="best", weights_only=True, verbose=False)
    scores |= tests
    save_curves(output_dir, data.held_out_name)
    write_scores(output_dir, scores)
    print(describe_end(scores, output_dir))
    return scores


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(cfg: DictConfig) -> None:
    """The command: trains in the run directory that Hydra has made."""
    for message in NOT_FOR_US:
        warnings.filterwarnings("ignore", message)
    hydra_cfg = HydraConfig.get()
    output_dir = Path(hydra_cfg.runtime.output_dir)
    if output_dir.is_relative_to(Path.cwd()):
        output_dir = output_dir.relative_to(Path.cwd())  # shorter to read and to copy
    train(cfg, output_dir, hydra_cfg.runtime.choices["model"])


if __name__ == "__main__":
    main()
