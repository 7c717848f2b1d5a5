"""What the libraries say that is not for the person who runs us."""

import logging
import warnings

NOT_FOR_US = (
    r".*does not have many workers",  # batches are picked out of tensors in memory
    r".*LeafSpec.* is deprecated",  # Lightning 2.6 calls what torch 2.15 has renamed
)


def quiet() -> None:
    """Filters these warnings, and Lightning's remarks on devices and products."""
    import lightning.pytorch  # sets the level of its loggers, so it comes before ours

    for message in NOT_FOR_US:
        warnings.filterwarnings("ignore", message)
    logging.getLogger(lightning.pytorch.__name__).setLevel(logging.WARNING)
