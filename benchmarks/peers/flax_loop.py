"""JAX with Flax and Optax, as users write it: one compiled function is a step."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn

from benchmarks.peers.nhwc import from_nhwc, to_nhwc
from benchmarks.problem import CLASSES, Array, Convolution, Gradients, Problem

jax.config.update("jax_platforms", "cpu")


class Network(nn.Module):  # type: ignore[misc]  # Any without Flax
    """The network, NHWC."""

    convolutions: list[Convolution]

    @nn.compact  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        for number, (_, maps, side, dilation) in enumerate(self.convolutions, 1):
            x = nn.Conv(maps, (side, side), kernel_dilation=dilation)(x)
            if number < len(self.convolutions):
                x = nn.relu(x)
        return nn.Dense(CLASSES)(x.reshape(len(x), -1))


class Flax:
    """A loop over arrays; a step waits for its result, or the loop would run ahead."""

    def __init__(self, problem: Problem, weights: list[Array]) -> None:
        self.problem = problem
        self.network = Network(problem.convolutions)
        names = [f"Conv_{number}" for number in range(len(problem.convolutions))] + ["Dense_0"]
        turned = to_nhwc(problem, weights)
        layers = zip(names, turned[::2], turned[1::2], strict=True)
        self.names = names
        self.params = {name: {"kernel": w, "bias": b} for name, w, b in layers}
        self.images = problem.images()[..., None].astype("float32") / 255
        self.targets = problem.targets()

    def loss(self, params: Any, x: Any, target: Any) -> Any:
        """The mean cross-entropy of a batch."""
        logits = self.network.apply({"params": params}, x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean()

    def check(self) -> Gradients:
        size = self.problem.batch
        loss, grads = jax.jit(jax.value_and_grad(self.loss))(
            self.params, self.images[:size], self.targets[:size]
        )
        flat = [grads[name][part] for name in self.names for part in ("kernel", "bias")]
        return Gradients(float(loss), from_nhwc(self.problem, [np.asarray(g) for g in flat]))

    def train(self, tick: Callable[[], None]) -> None:
        optimizer = optax.adam(1e-3)

        @jax.jit  # type: ignore[untyped-decorator]
        def step(params: Any, state: Any, x: Any, target: Any) -> Any:
            loss, grads = jax.value_and_grad(self.loss)(params, x, target)
            updates, state = optimizer.update(grads, state)
            return optax.apply_updates(params, updates), state, loss

        params, state, size = self.params, optimizer.init(self.params), self.problem.batch
        for first in range(0, len(self.images), size):
            batch = slice(first, first + size)
            params, state, loss = step(params, state, self.images[batch], self.targets[batch])
            jax.block_until_ready((params, loss))
            tick()
