"""Which arithmetic a network is trained with: what the last bits of its weights depend on."""

from typing import Any

import torch
from torch import nn

from context_agg.networks.context import DilatedConv2d


def arithmetic(network: nn.Module, device: torch.device) -> dict[str, Any]:
    """Describes rules, device and libraries; two runs that agree in it agree bit for bit.

    On CUDA they agree only with determinism=strict.
    """
    rules = {layer.backprop for layer in network.modules() if isinstance(layer, DilatedConv2d)}
    cuda = device.type == "cuda"
    return {
        "rules": sorted(rules),
        "device": device.type,
        "processor": torch.cuda.get_device_name(device)
        if cuda
        else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }
