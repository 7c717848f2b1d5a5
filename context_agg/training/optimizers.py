"""Optimizers that torch does not have."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class DraftAdam(Optimizer):
    """Adam whose bias correction omits the power t: m / (1 - beta_1), v / (1 - beta_2).

    The first step is Adam's; later ones tend to sqrt(1 - beta_2) / (1 - beta_1) = 0.32 of Adam's.

    Args:
        params: parameters to optimize.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the divisor, which would otherwise be 0 for a zero gradient.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta_1, beta_2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(parameter)
                mean, square = state["mean"], state["square"]
                mean.lerp_(parameter.grad, 1 - beta_1)
                square.lerp_(parameter.grad.square(), 1 - beta_2)
                divisor = (square / (1 - beta_2)).sqrt_().add_(group["eps"])
                parameter.addcdiv_(mean / (1 - beta_1), divisor, value=-group["lr"])
        return loss
