"""Shows a few held-out images with truth and prediction in TensorBoard, every epoch."""

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torchvision.utils import make_grid

from context_agg.data.images import ImageData
from context_agg.data.palette import colourise
from context_agg.data.pixels import network_input
from context_agg.ops.checks import check_whole
from context_agg.training.learner import Learner


class LabelImages(L.Callback):
    """Logs `val/labels` for dense data: a row per image, with its truth and prediction.

    Args:
        images: how many images to show, always the first of the held-out ones.
    """

    def __init__(self, images: int) -> None:
        check_whole("images", images)
        self.images = images

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        logger = trainer.logger
        if not isinstance(pl_module, Learner) or not pl_module.spec.dense:
            return
        if trainer.sanity_checking:
            return
        if not isinstance(logger, TensorBoardLogger):
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, ImageData)
        images, truth = data.held_out.stored(slice(self.images))
        classes = pl_module.spec.classes
        with torch.no_grad():
            dtype = next(pl_module.parameters()).dtype
            x = network_input(images.to(pl_module.device), dtype)
            predicted = pl_module(x).argmax(1).cpu()
        shown = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
        columns = [shown, colourise(truth, classes), colourise(predicted, classes)]
        rows = torch.stack(columns, 1).flatten(0, 1)
        grid = make_grid(rows, nrow=len(columns), pad_value=128)
        logger.experiment.add_image("val/labels", grid, trainer.global_step - 1)  # as its scalars
