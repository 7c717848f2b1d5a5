"""Keras on TensorFlow, as users write it: `fit` on arrays."""

import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import tensorflow as tf

from benchmarks.peers.nhwc import from_nhwc, to_nhwc
from benchmarks.problem import CLASSES, Array, Gradients, Problem


class Tick(keras.callbacks.Callback):  # type: ignore[misc]  # Any without TensorFlow
    """Calls a function after each step."""

    def __init__(self, tick: Callable[[], None]) -> None:
        super().__init__()
        self.tick = tick

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.tick()


class Keras:
    """A sequential model, compiled with Keras's defaults."""

    def __init__(self, problem: Problem, weights: list[Array]) -> None:
        self.problem = problem
        *layers, last = problem.convolutions
        model = keras.Sequential([keras.Input((problem.side, problem.side, 1))])
        for conv in layers:
            model.add(
                keras.layers.Conv2D(
                    conv.out_channels,
                    conv.side,
                    padding="same",
                    dilation_rate=conv.dilation,
                    activation="relu",
                )
            )
        model.add(keras.layers.Conv2D(last.out_channels, last.side))
        model.add(keras.layers.Flatten())
        model.add(keras.layers.Dense(CLASSES))
        model.set_weights(to_nhwc(problem, weights))
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        self.model = model
        self.images = problem.images()[..., None].astype("float32") / 255
        self.targets = problem.targets()

    def check(self) -> Gradients:
        size = self.problem.batch
        with tf.GradientTape() as tape:
            logits = self.model(self.images[:size], training=True)
            loss = self.model.loss(self.targets[:size], logits)
        grads = tape.gradient(loss, [weight.value for weight in self.model.trainable_weights])
        return Gradients(float(loss), from_nhwc(self.problem, [grad.numpy() for grad in grads]))

    def train(self, tick: Callable[[], None]) -> None:
        size = self.problem.batch
        self.model.fit(self.images, self.targets, size, verbose=0, callbacks=[Tick(tick)])
