"""Hides messages of the libraries that do not concern the user."""

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from types import ModuleType

NOT_FOR_US = (
    r".*does not have many workers",  # batches come from tensors in memory
    r"Checkpoint directory .* exists and is not empty",  # a run goes on
    r"The `srun` command is available",  # a run on a cluster's login node
    r".*sync_dist=True",  # what is logged is the same in every process
    r"Grad strides do not match",  # of kernels of one pixel, where these strides mean nothing
    r".*LeafSpec.* is deprecated",  # Lightning 2.6 calls what torch 2.15 has renamed
)

_hooks: list[Callable[[threading.ExceptHookArgs], object]] = []


def quiet() -> None:
    """Filters these warnings, and Lightning's messages about devices and products.

    Also the stack traces of threads that TensorBoard writes in: it raises their errors again in the
    main thread.
    """
    import lightning.fabric
    import lightning.pytorch  # sets the level of its loggers, so import it first

    for message in NOT_FOR_US:
        warnings.filterwarnings("ignore", message)
    for package in (lightning.pytorch, lightning.fabric):
        logging.getLogger(package.__name__).setLevel(logging.WARNING)
    quiet_tensorboard()
    if threading.excepthook is not _tell_of_threads:
        _hooks.append(threading.excepthook)
        threading.excepthook = _tell_of_threads


def _tell_of_threads(failed: threading.ExceptHookArgs) -> None:
    if not type(failed.thread).__module__.startswith("tensorboard."):
        _hooks[-1](failed)


def quiet_tensorboard() -> None:
    """Hides its warning that a run which has gone on is out of order.

    It also keeps TensorBoard from loading a TensorFlow that happens to be installed, which takes
    seconds and prints lines of its own; the presence of this module is TensorBoard's switch.
    """
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    switch = "tensorboard.compat.notf"
    sys.modules.setdefault(switch, ModuleType(switch))
