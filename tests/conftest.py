"""Settings for the whole suite."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from context_agg.cli.quiet import quiet_tensorboard
from context_agg.ops.native import kernels

quiet_tensorboard()  # TensorFlow would bring absl, whose log handler closes pytest's files

# The tensors in the tests are tiny: threads would only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Makes the weights in a test independent of the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _few_shapes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Outside tests/ops `manual` takes PyTorch's operations: compiling takes seconds a shape."""
    with pytest.MonkeyPatch.context() as patch:
        if "ops" not in request.path.parts:
            patch.setattr(kernels, "available", lambda: False)
        yield


@pytest.fixture(scope="session")
def mnist() -> Path:
    """The folder that holds the real MNIST/raw."""
    root = Path(os.environ.get("CONTEXT_AGG_DATA", "data"))
    if not (root / "MNIST" / "raw" / "t10k-images-idx3-ubyte").is_file():
        pytest.skip("real MNIST is not there: set CONTEXT_AGG_DATA to the folder that holds it")
    return root


@pytest.fixture(scope="session")
def camvid() -> Path:
    """The folder that holds the real CamVid."""
    root = Path(os.environ.get("CONTEXT_AGG_DATA", "data"))
    if not (root / "CamVid" / "trainannot").is_dir():
        pytest.skip("real CamVid is not there: set CONTEXT_AGG_DATA to the folder that holds it")
    return root
