"""The optimizers against torch's."""

import torch
from torch import nn

from context_agg.training.optimizers import DraftAdam


def test_draft_adam_forgets_the_power_t() -> None:
    """Compares with the formula in float64, and the first step with torch's Adam."""
    torch.manual_seed(0)
    grads = torch.randn(5, 4, dtype=torch.float64)
    draft, adam = (nn.Parameter(torch.ones(4, dtype=torch.float64)) for _ in range(2))
    optimizer, right = DraftAdam([draft], lr=0.1), torch.optim.Adam([adam], lr=0.1)
    mean = square = torch.zeros(4, dtype=torch.float64)
    expected = torch.ones(4, dtype=torch.float64)
    for step, grad in enumerate(grads):
        draft.grad, adam.grad = grad.clone(), grad.clone()
        optimizer.step()
        right.step()
        mean = 0.9 * mean + 0.1 * grad
        square = 0.999 * square + 0.001 * grad**2
        expected = expected - 0.1 * (mean / 0.1) / ((square / 0.001).sqrt() + 1e-8)
        torch.testing.assert_close(draft.detach(), expected, rtol=1e-12, atol=1e-12)
        if step == 0:
            torch.testing.assert_close(draft, adam, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(draft, adam)
