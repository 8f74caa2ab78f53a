"""What a rank reports of its training in its heartbeat."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer

from ptycho_dist.rundir.heartbeat import State
from ptycho_dist.training.datamodule import data_of
from ptycho_dist.training.module import module_of
from ptycho_dist.training.step_clock import StepClock
from ptycho_dist.training.task import TrainingTask


class Progress:
    """Writes epoch, step and loss to the heartbeat, as often as the heartbeat is due."""

    def __init__(self, task: TrainingTask, clock: StepClock) -> None:
        self._heartbeat = task.rank.heartbeat
        self._world = task.world
        self._clock = clock
        self.last_loss: float | None = None
        """Mean loss of the current epoch on this rank so far; None: unknown, or not finite."""

    def report(self, trainer: Trainer, state: State, *, now: bool = False) -> None:
        """Write the heartbeat and the step times, if they are due.

        Args:
            trainer: the trainer, at any place of its loops.
            state: what this rank does now.
            now: write even if nothing is due.
        """
        if not now and not self._heartbeat.due(state):
            return
        self._clock.flush()
        sums = module_of(trainer).train_sums
        if sums.count:
            loss = sums.total / sums.count
            self.last_loss = loss if math.isfinite(loss) else None
        self._heartbeat.write(
            state,
            epoch=data_of(trainer).position.epoch,
            epochs=self._world.epochs,
            step=trainer.global_step,
            total_steps=self._world.total_steps,
            loss=self.last_loss,
        )
