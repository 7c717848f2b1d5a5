"""Optimizers that torch does not have, or not with these settings."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from context_agg.ops.checks import check_number, is_number


def caffe_sgd(
    params: Iterable[Tensor],
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0005,
    bias_lr: float = 2.0,
) -> SGD:
    """SGD with the paper's settings for biases: they have a rate of their own, and do not decay.

    What has one axis counts as a bias. While the rate is constant, steps are those of Caffe's SGD.

    Args:
        params: parameters to optimize.
        lr: learning rate of the weights.
        momentum: share of the last step that is kept.
        weight_decay: of the weights.
        bias_lr: learning rate of the biases, in units of `lr`.

    Raises:
        ValueError: for a `bias_lr` that is negative.
    """
    check_number("bias_lr", bias_lr, 0)
    params = list(params)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in params if p.dim() != 1]},
        {"params": [p for p in params if p.dim() == 1], "lr": bias_lr * lr, "weight_decay": 0.0},
    ]
    filled = [group for group in groups if group["params"]]
    return SGD(filled, lr, momentum=momentum, weight_decay=weight_decay)


class DraftAdam(Optimizer):
    """Adam whose bias correction omits the power t: m / (1 - beta_1), v / (1 - beta_2).

    The first step is Adam's; later ones tend to sqrt(1 - beta_2) / (1 - beta_1) = 0.32 of Adam's.

    Args:
        params: parameters to optimize.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: added to the divisor, which would otherwise be 0 for a zero gradient.

    Raises:
        ValueError: for `betas` that are not two numbers from 0 to below 1.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        two = isinstance(betas, Sequence) and len(betas) == 2
        if not (two and all(is_number(beta) and 0 <= beta < 1 for beta in betas)):
            raise ValueError(f"betas={betas} must be two numbers from 0 to below 1")
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
