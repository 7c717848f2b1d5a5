"""What an import costs."""

import subprocess
import sys

HEAVY = {"lightning", "hydra", "omegaconf", "torchvision", "torchmetrics", "sklearn", "matplotlib"}


def test_importing_the_package_loads_torch_and_nothing_heavier() -> None:
    code = "import context_agg, context_agg.ops, sys; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(result.stdout.split())
    assert {"torch", "context_agg.networks.context", "context_agg.ops.rules"} <= loaded
    assert not loaded & (HEAVY | {"tensorboard"})
