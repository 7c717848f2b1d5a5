"""Ends a run at the step at which its loss or a gradient is no longer finite."""

import json
import math
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from context_agg.cli.errors import UserError
from context_agg.data.batches import EpochLoader
from context_agg.training.collectives import gather, processes, total
from context_agg.training.learner import Learner

LOOK = 50  # steps on CUDA from one look at the device to the next, as each waits for it
EVERY_STEP = ("cpu",)  # devices that are looked at after every step
DIAGNOSIS = "diagnosis.json"


class Finite(L.Callback):
    """Checks the loss and all gradients before the weights change.

    With precision=16-mixed it checks the loss alone, as the scaler expects infinite gradients. On
    CUDA what was found stays on the device; it is looked at every 50 steps and before a checkpoint
    is written. The values of the first bad step are written to diagnosis.json in the run's
    directory, with the epoch and number of its batch. Of the batches that a step accumulates, that
    is the first whose loss is not finite, or the last if only a gradient is not.

    Raises:
        UserError: naming the first bad step and layer.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, dict[str, Any]]] = []  # of one step: images, position
        self._loss: Tensor | None = None  # of one step: the first that is not finite, else the last
        self._number: int | Tensor = 0  # of its batch within the step
        self._parameters: dict[str, nn.Parameter] = {}
        self._names: list[str] = []
        # the first bad step, or -1; its values, and the number of its batch
        self._found: tuple[Tensor, Tensor, int | Tensor] | None = None
        self._positions: deque[tuple[int, list[dict[str, Any]]]] = deque(maxlen=2 * LOOK)  # by step

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        # looked up once: that takes as long as to look at the gradients
        self._parameters = dict(pl_module.network.named_parameters())

    def on_train_batch_start(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        batch: tuple[Tensor, Tensor],
        batch_idx: int,
    ) -> None:
        loader = trainer.train_dataloader
        assert isinstance(loader, EpochLoader)
        self._batches.append((batch[0], loader.state_dict()))

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        loss = total(loss.detach()) / processes()
        if self._loss is not None:  # of an earlier batch of the same step
            finite = self._loss.isfinite()
            loss = torch.where(finite, loss, self._loss)
            self._number = torch.where(finite, len(self._batches) - 1, self._number)
        self._loss = loss

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer
    ) -> None:
        assert self._loss is not None
        largest = {
            name: parameter.grad.abs().amax()
            for name, parameter in self._parameters.items()
            if parameter.grad is not None and trainer.precision != "16-mixed"
        }
        values = torch.stack([self._loss, *largest.values()])
        self._names = list(largest)
        self._positions.append((trainer.global_step, [position for _, position in self._batches]))
        step = torch.where(values.isfinite().all(), -1, trainer.global_step)
        first, kept, number = self._found or (step, values, self._number)
        none = first < 0
        self._found = (
            torch.where(none, step, first),
            torch.where(none, values, kept),
            torch.where(none, self._number, number),
        )
        if values.device.type in EVERY_STEP or trainer.global_step % LOOK == 0:
            self._look(trainer, pl_module)
        self._batches, self._loss, self._number = [], None, 0

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._look(trainer, pl_module)

    def _look(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._found is None or (step := int(self._found[0])) < 0:
            return
        assert isinstance(pl_module, Learner)
        number = int(self._found[2])
        loss, *largest = self._found[1].tolist()
        gradients = dict(zip(self._names, largest, strict=True))
        outputs = {}
        if step == trainer.global_step:  # the weights are still those of that step
            with trainer.precision_plugin.forward_context():
                parts = gather(largest_outputs(pl_module.network, self._batches[number][0]))
            outputs = {name: _largest(part[name] for part in parts) for name in parts[0]}
        # The forward pass meets the first layer of these first, the backward pass the last one.
        bad_outputs = [name for name, value in outputs.items() if not math.isfinite(value)]
        bad_gradients = [name for name, value in gradients.items() if not math.isfinite(value)]
        what = f"the loss is {loss}"
        if math.isfinite(loss):
            what = "a gradient is not finite"
        if bad_outputs:
            what += f", first in the output of {bad_outputs[0]}"
        elif bad_gradients:
            what += f", first in the gradient of {bad_gradients[-1].rpartition('.')[0]}"
        file = Path(str(trainer.log_dir)) / DIAGNOSIS
        diagnosis = {
            "step": step,
            "batch": dict(self._positions)[step][number],
            "loss": loss,
            "largest_output": outputs,
            "largest_gradient": gradients,
        }
        # NaN is not in the JSON standard
        text = json.dumps(json.loads(json.dumps(diagnosis), parse_constant=str), indent=2)
        if trainer.is_global_zero:
            file.write_text(text + "\n")
        raise UserError(
            f"step {step}: {what}, so the run ends. {file} lists the largest values. Train a new "
            "run with a smaller optimizer.lr, or with +trainer.gradient_clip_val=1"
        )


def _largest(values: Iterable[float]) -> float:
    """The largest of some values; NaN if one of them is."""
    return float(torch.tensor(list(values), dtype=torch.float64).amax())


@torch.no_grad()
def largest_outputs(network: nn.Module, x: Tensor) -> dict[str, float]:
    """The largest magnitude in the output of each layer, in the order of the forward pass."""
    largest: dict[str, float] = {}
    handles = []
    for name, module in network.named_modules():
        if not any(module.children()):

            def keep(module: nn.Module, operands: object, y: Tensor, name: str = name) -> None:
                largest[name] = float(y.abs().max()) if len(y) else 0.0

            handles.append(module.register_forward_hook(keep))
    try:
        network(x)
    finally:
        for handle in handles:
            handle.remove()
    return largest
