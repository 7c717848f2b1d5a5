"""Measures where the time of a training step goes, with PyTorch's profiler."""

from pathlib import Path

import lightning as L
from torch.profiler import profile, schedule, tensorboard_trace_handler

from context_agg.ops.checks import check_whole


class ProfileSteps(L.Callback):
    """Profiles training steps (data, forward, backward, optimizer).

    Writes a trace, *.pt.trace.json, and profile.txt, the operators sorted by time, to the run's
    directory. Lightning 2.6's own PyTorchProfiler leaves its table empty with this schedule.

    Args:
        warmup: number of first steps, which are not recorded.
        steps: number of steps to record after those.

    Raises:
        ValueError: for a number that is not whole, or too small.
    """

    def __init__(self, warmup: int, steps: int) -> None:
        check_whole("warmup", warmup, 0)
        check_whole("steps", steps)
        self.warmup = warmup
        self.steps = steps
        self._folder = Path()
        self._profile: profile | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._folder = Path(str(trainer.log_dir))
        write = self._write if trainer.is_global_zero else None
        plan = schedule(wait=0, warmup=self.warmup, active=self.steps, repeat=1)
        self._profile = profile(schedule=plan, on_trace_ready=write)
        self._profile.start()

    def on_train_batch_end(self, trainer: L.Trainer, *args: object) -> None:
        assert self._profile is not None
        self._profile.step()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert self._profile is not None
        self._profile.stop()

    def _write(self, recorded: profile) -> None:
        tensorboard_trace_handler(str(self._folder))(recorded)
        averages = recorded.key_averages()
        (self._folder / "profile.txt").write_text(averages.table("self_cpu_time_total"))
