"""What a run writes for TensorBoard beside Lightning's curves: its place in a comparison."""

from collections.abc import Mapping

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.tensorboard.summary import hparams

PANELS = {
    "cost, training": ["Multiline", ["train/loss$"]],
    "cost, held-out": ["Multiline", ["val/loss$"]],
    "accuracy, training": ["Multiline", ["train/accuracy$"]],
    "accuracy, held-out": ["Multiline", ["val/accuracy$"]],
}
IOU_PANEL = {"mean IoU, held-out": ["Multiline", ["val/iou$"]]}


class RunLogger(TensorBoardLogger):
    """Lightning's logger, without the curve of the number of the epoch that it adds."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({name: metrics[name] for name in metrics if name != "epoch"}, step)

    @rank_zero_only
    def begin(self, settings: Mapping[str, object], *, dense: bool) -> None:
        """Writes the layout of the custom scalars, and the settings for the HPARAMS tab.

        The layout draws the curves of all runs over each other, as the panels of the 2018 post.
        TensorBoard shows the equal layouts of several runs once.
        """
        self.experiment.add_custom_scalars(
            {"cost and accuracy": PANELS | (IOU_PANEL if dense else {})}
        )
        simple = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in settings.items()
        }
        # The first of these, a list of the keys, would hide those of other sweeps.
        _, start, _ = hparams(simple, {})  # type: ignore[no-untyped-call]
        self.experiment._get_file_writer().add_summary(start, 0)
