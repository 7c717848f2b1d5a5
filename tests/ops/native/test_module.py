"""Modules on the compiled kernels: memory layout, transformations, what is said of them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from context_agg import ContextModule
from context_agg.ops import is_native
from context_agg.training.arithmetic import arithmetic, rules

CPU = torch.device("cpu")


class Copies(TorchDispatchMode):
    """Counts the copies of whole maps."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in ("clone", "copy_", "_to_copy", "contiguous"):
            self.count += isinstance(result, Tensor) and result.numel() == self.size
        return result


@pytest.mark.parametrize(
    ("layout", "copies"), [(torch.contiguous_format, 2), (torch.channels_last, 0)]
)
def test_a_module_converts_nchw_once_at_its_entry_and_once_at_its_exit(
    layout: torch.memory_format, copies: int
) -> None:
    module = ContextModule.basic(16, init="normal", backprop="manual")
    x = torch.randn(2, 16, 19, 17).contiguous(memory_format=layout)
    with Copies(x.numel()) as forward:
        y = module(x)
    assert y.is_contiguous(memory_format=layout)
    assert forward.count == copies
    grad_output = torch.randn(y.shape).contiguous(memory_format=layout)
    with Copies(x.numel()) as backward:
        torch.autograd.backward(y, grad_output)
    assert backward.count <= copies
    module_auto = ContextModule.basic(16, backprop="auto")
    module_auto.load_state_dict(module.state_dict())
    assert_close(y, module_auto(x), rtol=1e-4, atol=1e-4)


def test_a_compiled_module_is_the_eager_one() -> None:
    module = ContextModule(16, (1, 2), (1, 1), init="normal")
    x = torch.randn(2, 16, 9, 8)
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    assert_close(compiled(x), module(x))


def test_a_module_runs_under_vmap() -> None:
    module = ContextModule(16, (1, 2), (1, 1), init="normal")
    x = torch.randn(3, 2, 16, 9, 8)
    assert_close(torch.vmap(module)(x), torch.stack([module(images) for images in x]))


def test_rules_are_recorded_with_what_they_compute_with() -> None:
    module = ContextModule(16, (1,), (1,), backprop="manual")
    assert rules(module, CPU, "32-true") == ["manual (compiled kernels)"]
    assert rules(module, CPU, "bf16-mixed") == ["manual (PyTorch's operations)"]
    wide = ContextModule(16, (1, 1), (1, 16), backprop="broken")
    assert rules(wide, CPU, "32-true") == [
        "broken (PyTorch's operations)",
        "broken (compiled kernels)",
    ]
    auto = ContextModule(16, (1,), (1,), backprop="auto")
    assert rules(auto, CPU, "32-true") == ["auto"]
    assert arithmetic(auto, CPU, "32-true")["kernels"] is None
    assert arithmetic(module, CPU, "32-true")["kernels"]


def test_the_standard_of_comparison_is_never_native() -> None:
    for name in ("auto", "manual_torch", "manual_taps", lambda *operands: operands[0]):
        assert not is_native(name, CPU, torch.float32, 16)
    assert is_native("manual", CPU, torch.float32, 16)
