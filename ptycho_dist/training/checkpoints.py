"""The checkpoints of a run: what each of them holds besides Lightning's state, and its commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ptycho_dist.training.commit import Committer
from ptycho_dist.training.datamodule import data_of
from ptycho_dist.training.figures import EpochFigures
from ptycho_dist.training.module import module_of
from ptycho_dist.training.run_state import (
    begin_validation_anew,
    put_run_state,
    require_same_world,
    restore_own_rng,
    schedule_shift,
)
from ptycho_dist.training.step_clock import StepClock
from ptycho_dist.training.task import TrainingTask


@dataclass(frozen=True)
class Boundary:
    """The place in the training that a checkpoint records."""

    ends_epoch: bool = False
    """Whether an epoch has just ended, with its validation."""
    monitored: float | None = None
    """The monitored value of the epoch that has ended; None: no epoch has, or there is no value."""
    before_validation: bool = False
    """Whether the steps of an epoch are done, and its validation is to be done after a resume."""


WITHIN_EPOCH = Boundary()


class RunCheckpoints(Callback):
    """Commits checkpoints, and puts the state of the run into each; all ranks act together."""

    def __init__(
        self, task: TrainingTask, committer: Committer, figures: EpochFigures, clock: StepClock
    ) -> None:
        """Begin with no checkpoint loaded.

        Args:
            task: what is trained.
            committer: commits, and knows when a commit is due.
            figures: gathered from all ranks before each commit.
            clock: takes the time of the commits.
        """
        self._task = task
        self._figures = figures
        self._clock = clock
        self._boundary = WITHIN_EPOCH  # of the checkpoint that is being made
        self._rng: torch.Tensor | None = None  # of all ranks, from the checkpoint that was loaded
        self.committer = committer

    def commit(
        self, trainer: Trainer, boundary: Boundary = WITHIN_EPOCH, *, essential: bool = False
    ) -> None:
        """Commit a checkpoint, on all ranks.

        Args:
            trainer: at an optimizer-step boundary.
            boundary: the place that the checkpoint records.
            essential: whether the run cannot continue without it; see `Committer.commit`.

        Raises:
            DivergedLoss: the loss is no longer finite.
            RunError: the checkpoint is not written; see `Committer.commit`.
        """
        position = data_of(trainer).position
        with self._clock.phase("checkpoint"):
            if not boundary.ends_epoch:  # the figures of an epoch that has ended are closed already
                self._figures.gather(module_of(trainer), position.epoch, trainer.global_step)
            self._boundary = boundary
            self.committer.commit(trainer, position, essential=essential)

    def restore_rng(self) -> None:
        """Restore this rank's random generators, if a checkpoint was loaded."""
        if self._rng is not None:
            rank, seed = self._task.rank, self._task.config.training.seed
            restore_own_rng(self._rng, rank.rank, seed, rank.device.torch)

    # --- what Lightning calls ------------------------------------------------------------------

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state of the run to a checkpoint."""
        checkpoint["monitored"] = self._boundary.monitored
        put_run_state(
            checkpoint,
            data_of(trainer).position,
            self._task.world,
            self._task.rank.agreement,
            self._task.rank.device.torch,
            ends_epoch=self._boundary.ends_epoch,
        )
        if self._boundary.before_validation:
            begin_validation_anew(checkpoint)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Check that the checkpoint fits this world, and keep what is restored later."""
        world = self._task.world
        resized = require_same_world(checkpoint, world, resize=self._task.plan.resized)
        self._rng = checkpoint["rng"]
        if resized:
            module_of(trainer).schedule_shift = schedule_shift(
                data_of(trainer).position, world, int(checkpoint["global_step"])
            )
