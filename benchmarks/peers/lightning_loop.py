"""Lightning: a run of ours, and a loop with a DataLoader as users write it."""

import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor

from benchmarks.peers.torch_loop import gradients, our_network, users_network
from benchmarks.problem import CLASSES, Array, Gradients, Problem
from context_agg.cli.compose import compose_config
from context_agg.cli.quiet import quiet
from context_agg.data.images import ImageData
from context_agg.data.pixels import network_input
from context_agg.runs.build import build_callbacks, build_logger, build_trainer
from context_agg.training.learner import Learner


class Tick(L.Callback):
    """Calls a function after each step."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self.tick = tick

    def on_train_batch_end(self, *_: Any) -> None:
        self.tick()


class OurRun:
    """What `context_agg.train` does: its learner, data, trainer, callbacks and curves."""

    def __init__(self, problem: Problem, weights: list[Array]) -> None:
        images = torch.from_numpy(problem.images())[:, None]
        targets = torch.from_numpy(problem.targets())
        few = images[: problem.batch], targets[: problem.batch]
        self.data = ImageData(
            (images, targets),
            few,
            few,
            name="noise",
            classes=[str(number) for number in range(CLASSES)],
            batch_size=problem.batch,
            held_out="validation",
            seed=0,
        )
        network = our_network(problem, weights)
        optimizer = torch.optim.Adam(network.parameters())
        self.learner = Learner(network, optimizer, self.data.spec)
        self.batch = network_input(few[0]), few[1]

    def check(self) -> Gradients:
        return gradients(self.learner.network, *self.batch)

    def train(self, tick: Callable[[], None]) -> None:
        quiet()
        cfg = compose_config("trainer.max_epochs=1", "trainer.accelerator=cpu")
        with tempfile.TemporaryDirectory() as folder:
            callbacks = [*build_callbacks(cfg, self.data.spec), Tick(tick)]
            logger = build_logger(Path(folder), purge_step=0)
            build_trainer(cfg, logger=logger, callbacks=callbacks).fit(self.learner, self.data)


class Images(Dataset[tuple[Tensor, int]]):
    """Images that are made into tensors one by one, as torchvision's data sets do it."""

    def __init__(self, images: Array, targets: Array) -> None:
        self.images, self.targets, self.transform = images, targets, ToTensor()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.targets[index])


class Classifier(L.LightningModule):
    """The network as users of Lightning write it."""

    def __init__(self, problem: Problem, weights: list[Array]) -> None:
        super().__init__()
        self.network = users_network(problem, weights)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, target = batch
        loss = F.cross_entropy(self.network(x), target)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters())


class Lightning:
    """A LightningModule and a DataLoader; the trainer has its defaults, but no progress bar."""

    def __init__(self, problem: Problem, weights: list[Array]) -> None:
        self.module = Classifier(problem, weights)
        data = Images(problem.images(), problem.targets())
        first = [data[number] for number in range(problem.batch)]
        self.batch = torch.stack([x for x, _ in first]), torch.tensor([y for _, y in first])
        self.loader = DataLoader(data, problem.batch, shuffle=True)

    def check(self) -> Gradients:
        return gradients(self.module.network, *self.batch)

    def train(self, tick: Callable[[], None]) -> None:
        quiet()
        warnings.filterwarnings("ignore", ".*smaller than the logging interval")
        with tempfile.TemporaryDirectory() as folder:
            trainer = L.Trainer(
                accelerator="cpu",
                max_epochs=1,
                default_root_dir=folder,
                callbacks=[Tick(tick)],
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(self.module, self.loader)
