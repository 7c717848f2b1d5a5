"""Gradient shortcuts, called "Dilated Back Propagation" by the author of the 2018 post."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from context_agg.ops.checks import check_number, check_whole


class GradientShortcuts(nn.Module):
    """Adds gradients of later layers of a stack to those of earlier ones; the forward is unchanged.

    With g_k the gradient that layer k sends to its input, layer j receives
    g_{j+1} + s (g_{j+2} + ... + g_{j+1+window}) instead of g_{j+1}, where s is
    scale / (1 + decay epoch). A layer with fewer than `window` such layers above it receives no
    shortcut. It is the gradient of no loss unless s = 0.

    Args:
        scale: s in the first epoch; 0 for the plain gradient.
        decay: of s, per epoch.
        window: how many gradients are added; null for those of all later layers.

    Attributes:
        backprop: "shortcuts", or "auto" for the plain gradient, as in a layer.

    Raises:
        ValueError: for a value out of its range.
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
        """The learner calls this before every epoch."""
        self.epoch = epoch

    def forward(self, x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
        """Runs a stack of layers whose maps all have one shape."""
        if not self.scale or self.backprop == "auto":
            for layer in layers:
                x = layer(x)
            return x
        emitted: list[Tensor] = []  # g_n, g_{n-1}, ... as the backward pass goes on
        for number, layer in enumerate(layers):
            if number and x.requires_grad:
                hook = self._hook(emitted, last=number == len(layers) - 1)
                x.register_hook(hook)  # type: ignore[no-untyped-call]
            x = layer(x)
        return x

    def _hook(self, emitted: list[Tensor], *, last: bool) -> Callable[[Tensor], Tensor]:
        def add_later(grad: Tensor) -> Tensor:
            if last:
                emitted.clear()  # of a backward pass before this one
            later = emitted[-self.window :] if self.window else list(emitted)
            emitted.append(grad)
            if not later or (self.window and len(later) < self.window):
                return grad
            strength = self.scale / (1 + self.decay * self.epoch)
            return grad + strength * sum(later)

        return add_later
