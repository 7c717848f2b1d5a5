"""Hides messages of the libraries that do not concern the user."""

import logging
import warnings

NOT_FOR_US = (
    r".*does not have many workers",  # batches come from tensors in memory
    r"Checkpoint directory .* exists and is not empty",  # a run goes on
    r".*LeafSpec.* is deprecated",  # Lightning 2.6 calls what torch 2.15 has renamed
)


def quiet() -> None:
    """Filters these warnings, and Lightning's messages about devices and products."""
    import lightning.pytorch  # sets the level of its loggers, so import it first

    for message in NOT_FOR_US:
        warnings.filterwarnings("ignore", message)
    logging.getLogger(lightning.pytorch.__name__).setLevel(logging.WARNING)
