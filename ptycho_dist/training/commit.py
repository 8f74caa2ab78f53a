"""When a checkpoint is due, and how all ranks commit it together, even if the disk refuses it."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from lightning.pytorch import Trainer

from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.checkpoint.io import CheckpointNotWritten
from ptycho_dist.config.lead import Measured, needed_lead
from ptycho_dist.data.loader import Position
from ptycho_dist.errors import RunError
from ptycho_dist.rundir.consumed import ConsumedRanges
from ptycho_dist.training.task import TrainingTask

log = logging.getLogger(__name__)

TRIES = 3
"""Failures in a row that end the run; a checkpoint at a stop or at the end must not fail at all."""


class Committer:
    """Keeps which samples were used since the last commit, and commits them with a checkpoint."""

    def __init__(self, task: TrainingTask) -> None:
        self._task = task
        self._run = task.run
        self._rank = task.rank
        self._execution = task.config.execution
        self._consumed: dict[int, ConsumedRanges] = {}  # by epoch, since the last commit
        self._failures = 0
        self._tried_at = time.monotonic()
        self._tried_step = 0
        self._step_began: float | None = None
        self._longest = Measured(0.0, 0.0)

    def start(self, step: int) -> None:
        """Note the optimizer step at which training begins."""
        self._tried_step = step
        self._tried_at = time.monotonic()

    def used(self, epoch: int, start: int, stop: int) -> None:
        """Note that this rank has used positions `start` to `stop` in the epoch's order."""
        ranges = self._consumed.setdefault(epoch, ConsumedRanges())
        if stop > start:
            ranges.add(start, stop)

    # --- time ----------------------------------------------------------------------------------

    def step_begins(self) -> None:
        """Note that a micro-batch begins; its step may have begun already."""
        if self._step_began is None:
            self._step_began = time.monotonic()

    def step_done(self) -> None:
        """Note that an optimizer step is done; the next one begins with its wait for data."""
        now = time.monotonic()
        if self._step_began is not None:
            longest = max(self._longest.step_s, now - self._step_began)
            self._longest = Measured(longest, self._longest.checkpoint_s)
        self._step_began = now

    def pause(self) -> None:
        """Note that what follows is no step, but a validation or a checkpoint."""
        self._step_began = None

    @property
    def needed_lead_s(self) -> float:
        """Seconds that a stop would take now, as measured in this attempt."""
        return needed_lead(self._longest)

    @property
    def due_by_time(self) -> bool:
        """Whether this rank's clock says that a checkpoint is due; all must agree on it."""
        every_s = self._execution.checkpoint_every_s
        return every_s is not None and time.monotonic() - self._tried_at >= every_s

    def due_by_steps(self, step: int) -> bool:
        """Return whether a checkpoint is due by step count; equal on all ranks."""
        every = self._execution.checkpoint_every_n_steps
        return every is not None and step - self._tried_step >= every

    # --- the commit ----------------------------------------------------------------------------

    def commit(self, trainer: Trainer, position: Position, *, essential: bool) -> bool:
        """Commit a checkpoint on all ranks; each first notes for which samples it stands.

        Args:
            trainer: at an optimizer-step boundary.
            position: the place in the data for which the checkpoint stands.
            essential: whether the run cannot continue without it (a stop, the end).

        Returns:
            Whether it is committed. If not, the run continues, and the next one is due as usual.

        Raises:
            RunError: on all ranks, if it is not written and is essential or the third in a row.
            SupersededAttempt: on rank 0, if a later attempt has taken the run over.
        """
        began = time.monotonic()
        step = trainer.global_step
        self._task.require_same_globals(f"before the checkpoint of step {step}")
        problem = self._note_consumed(step, position) or self._save(trainer, step)
        if not problem and self._rank.rank == 0:
            problem = self._note_committed(step, position, time.monotonic() - began)
        problems = [text for text in self._rank.agreement.texts(problem) if text]
        self._tried_at, self._tried_step = time.monotonic(), step
        self.pause()
        if problems:
            self._tolerate(step, problems[0], essential)
            return False
        self._failures = 0
        self._consumed = {}
        seconds = time.monotonic() - began
        self._longest = Measured(self._longest.step_s, max(self._longest.checkpoint_s, seconds))
        return True

    def _note_consumed(self, step: int, position: Position) -> str:
        """Note the samples in the ledger of each rank, before rank 0 writes the checkpoint.

        Returns:
            What went wrong on any rank; empty: nothing.
        """
        nothing = {position.epoch: ConsumedRanges()}
        problem = ""
        try:
            for epoch, ranges in (self._consumed or nothing).items():
                self._rank.ledger.append(
                    "consumed", step=step, epoch=epoch, ranges=ranges.to_json()
                )
        except OSError as error:
            problem = f"rank {self._rank.rank} cannot write its ledger: {error.strerror}"
        bad = self._rank.agreement.any(bool(problem))
        return problem or ("another rank cannot write its ledger" if bad else "")

    def _note_committed(self, step: int, position: Position, seconds: float) -> str:
        """Note the commit in the ledger, which the verifier reads; return what went wrong.

        If this fails the commit does not count, and the next one stands for its samples too.
        """
        try:
            self._rank.ledger.append(
                "checkpoint_committed",
                step=step,
                epoch=position.epoch,
                sample=position.sample,
                seconds=round(seconds, 3),
                step_s=round(self._longest.step_s, 4),
            )
        except OSError as error:
            return f"rank 0 cannot write its ledger: {error.strerror}"
        return ""

    def _save(self, trainer: Trainer, step: int) -> str:
        self._rank.moved("writing a checkpoint")
        try:
            trainer.save_checkpoint(self._run.checkpoints / checkpoint_name(step))
        except CheckpointNotWritten as error:  # on rank 0; the others wait at the barrier already
            trainer.strategy.barrier()
            return str(error)
        finally:
            self._rank.moved("after a checkpoint")
        return ""

    def _tolerate(self, step: int, problem: str, essential: bool) -> None:
        self._failures += 1
        if self._rank.rank == 0:
            with suppress(OSError):
                self._rank.ledger.append("checkpoint_failed", step=step, reason=problem)
        if essential or self._failures >= TRIES:
            count = f"{self._failures} in a row" if self._failures > 1 else "a stop or the end"
            raise RunError(f"the checkpoint of step {step} is not written ({count}): {problem}")
        log.warning(
            "the checkpoint of step %d is not written, the run continues: %s", step, problem
        )
