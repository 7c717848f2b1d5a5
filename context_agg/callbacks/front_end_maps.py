"""Computes the maps of a frozen front end once for every image, and once for its mirror image."""

from collections.abc import Sequence

import lightning as L

from context_agg.networks.map_cache import MapCache
from context_agg.training.learner import Learner


class FrontEndMaps(L.Callback):
    """Keeps the maps of the front end in memory while a run trains; the losses stay the same.

    Args:
        frozen: the parts of the network that are frozen; the front end must be one of them.

    Raises:
        ValueError: if it is not.
    """

    def __init__(self, frozen: Sequence[str]) -> None:
        if "front_end" not in frozen:
            raise ValueError(
                f"frozen={list(frozen)}: the maps of a front end that learns cannot be kept; set "
                "frozen=[front_end], or leave out callbacks=front_end_maps"
            )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        network = pl_module.network
        front_end = network.get_submodule("front_end").eval()  # drops nothing out
        network.cache = MapCache(front_end)  # type: ignore[assignment]

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        pl_module.network.cache = None  # type: ignore[assignment]
