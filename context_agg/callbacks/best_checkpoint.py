"""Keeps the best weights."""

from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint

from context_agg.cli.monitors import MODES
from context_agg.ops.checks import check_choice


class BestCheckpoint(ModelCheckpoint):
    """Writes checkpoints/best.ckpt after the best epoch so far.

    Args:
        monitor: a scalar of the held-out images; None: val/accuracy, or val/iou for dense data,
            where a network that predicts "background" everywhere has a good accuracy. The smallest
            val/loss is best, and the largest of the others.
        dense: whether every pixel of the data has a class of its own.

    Raises:
        ValueError: for another scalar, or for val/iou if the data are not dense.
    """

    def __init__(self, monitor: str | None = None, *, dense: bool) -> None:
        if monitor is not None:
            check_choice("monitor", monitor, tuple(MODES))
        if monitor == "val/iou" and not dense:
            raise ValueError("monitor=val/iou needs dense data; take val/accuracy")
        monitor = monitor or ("val/iou" if dense else "val/accuracy")
        super().__init__(
            monitor=monitor, mode=MODES[monitor], filename="best", enable_version_counter=False
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # Lightning would forget the best score if the run's directory had another path before
        best = state_dict["best_model_path"] and f"{self.dirpath}/best.ckpt"
        paths = {"dirpath": self.dirpath, "best_model_path": best, "kth_best_model_path": best}
        models = dict.fromkeys([best] if best else [], state_dict["best_model_score"])
        super().load_state_dict({**state_dict, **paths, "best_k_models": models})
