"""Which arithmetic a network is trained with: what the last bits of its weights depend on."""

from typing import Any

import torch
from torch import nn

from context_agg.networks.context import DilatedConv2d
from context_agg.ops import BY_PYTORCH, is_native
from context_agg.ops.native import compiler, kernels

DTYPES = {"32-true": torch.float32, "64-true": torch.float64}  # of Lightning's precisions


def arithmetic(network: nn.Module, device: torch.device, precision: str) -> dict[str, Any]:
    """Describes rules, device and libraries; two runs that agree in it agree bit for bit.

    On CUDA they agree only with determinism=strict.
    """
    cuda = device.type == "cuda"
    native = any(_is_native(layer, device, precision) for layer in _layers(network))
    return {
        "rules": rules(network, device, precision),
        "kernels": compiler.fingerprint() if native else None,
        "device": device.type,
        "processor": torch.cuda.get_device_name(device)
        if cuda
        else torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


def rules(network: nn.Module, device: torch.device, precision: str) -> list[str]:
    """The names of the network's rules; of one that has the choice, also what it computes with."""
    found = set()
    for layer in _layers(network):
        name = str(layer.backprop)
        if name not in BY_PYTORCH:
            native = _is_native(layer, device, precision)
            name += " (compiled kernels)" if native else " (PyTorch's operations)"
        found.add(name)
    return sorted(found)


def compile_kernels(network: nn.Module, device: torch.device, precision: str) -> None:
    """Compiles what the network's layers need and the cache lacks, side by side.

    Raises:
        OSError: if the compiler fails.
    """
    kernels.prepare(
        (layer.in_channels, layer.out_channels, layer.kernel_size[0], DTYPES[precision])
        for layer in _layers(network)
        if _is_native(layer, device, precision)
    )


def _layers(network: nn.Module) -> list[DilatedConv2d]:
    return [layer for layer in network.modules() if isinstance(layer, DilatedConv2d)]


def _is_native(layer: DilatedConv2d, device: torch.device, precision: str) -> bool:
    maps = max(layer.in_channels, layer.out_channels)
    dtype = DTYPES.get(precision)
    return dtype is not None and is_native(layer.backprop, device, dtype, maps)
