"""Gradient shortcuts, which the author of the 2018 post called "Dilated Back Propagation"."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from context_agg.ops.checks import check_number, check_whole


class GradientShortcuts(nn.Module):
    """Adds gradients of later layers of a stack to those of earlier ones; the forward is unchanged.

    Let g_k be the gradient that layer k sends to its input. Layer j receives
    g_{j+1} + s (g_{j+2} + ... + g_{j+1+window}) instead of g_{j+1}, where s is
    scale / (1 + decay epoch). A layer with fewer than `window` such layers above it receives no
    shortcut. The result is not the gradient of any loss unless s = 0.

    Args:
        scale: s in the first epoch; 0 for the plain gradient.
        decay: decay of s per epoch.
        window: how many gradients are added; null for those of all later layers.

    Attributes:
        backprop: "shortcuts", or "auto" for the plain gradient.

    Raises:
        ValueError: for a value out of range.
    """

    def __init__(self, scale: float = 0.0, decay: float = 0.0, window: int | None = 2) -> None:
        super().__init__()
        check_number("scale", scale)
        check_number("decay", decay, 0)
        if window is not None:
            check_whole("window", window)
        self.scale = scale
        self.decay = decay
        self.window = window
        self.epoch = 0
        self.backprop = "shortcuts"

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch on which s depends; the learner calls this before every epoch."""
        self.epoch = epoch

    def forward(self, x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
        """Runs a stack of layers whose maps all have the same shape."""
        if not self.scale or self.backprop == "auto":
            for layer in layers:
                x = layer(x)
            return x
        emitted: list[Tensor] = []  # g_n, g_{n-1}, ... in the order of the backward pass
        for number, layer in enumerate(layers):
            if number and x.requires_grad:
                hook = self._hook(emitted, last=number == len(layers) - 1)
                x.register_hook(hook)  # type: ignore[no-untyped-call]
            x = layer(x)
        return x

    def _hook(self, emitted: list[Tensor], *, last: bool) -> Callable[[Tensor], Tensor]:
        def add_later(grad: Tensor) -> Tensor:
            if last:
                emitted.clear()  # gradients of an earlier backward pass
            later = emitted[-self.window :] if self.window else list(emitted)
            emitted.append(grad)
            if not later or (self.window and len(later) < self.window):
                return grad
            strength = self.scale / (1 + self.decay * self.epoch)
            return grad + strength * sum(later)

        return add_later
