"""What a run does besides computing, step by step: report, agree on stopping, commit, count."""

from __future__ import annotations

import logging
import math
import time
from typing import Any, NoReturn

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ptycho_dist.data.loader import Position
from ptycho_dist.training.checkpoints import WITHIN_EPOCH, Boundary, RunCheckpoints
from ptycho_dist.training.datamodule import data_of
from ptycho_dist.training.ddp_buckets import settle_ddp_buckets
from ptycho_dist.training.epoch_pictures import EpochPictures
from ptycho_dist.training.figures import EpochFigures
from ptycho_dist.training.measuring import MeasuredEnough, Measuring
from ptycho_dist.training.metrics import Row
from ptycho_dist.training.module import LossSums, module_of
from ptycho_dist.training.progress import Progress
from ptycho_dist.training.schedule import Patience
from ptycho_dist.training.step_clock import StepClock
from ptycho_dist.training.stopping import StoppedOnRequest, stop_wanted
from ptycho_dist.training.task import TrainingTask

log = logging.getLogger(__name__)

_NOTHING_ELSE = (False, False)
"""No votes for a checkpoint and for the end of a measurement, where only a stop is asked for."""


class RunCallback(Callback):
    """Keeps the run directory in step with the training, on every rank."""

    def __init__(
        self,
        task: TrainingTask,
        checkpoints: RunCheckpoints,
        figures: EpochFigures,
        pictures: EpochPictures,
        clock: StepClock,
        measuring: Measuring,
    ) -> None:
        """Connect the parts of a training.

        Args:
            task: what is trained.
            checkpoints: commits the checkpoints.
            figures: rows and sums of the epochs; part of each checkpoint.
            pictures: drawn at the end of epochs.
            clock: takes the time of each step.
            measuring: decides when a run that measures has measured enough.
        """
        self._task = task
        self._world = task.world
        self._window = task.world.accum_steps
        self._rank = task.rank
        self._agreement = task.rank.agreement
        self._heartbeat = task.rank.heartbeat
        self._execution = task.config.execution
        self._monitor = task.monitor
        self._checkpoints = checkpoints
        self._committer = checkpoints.committer
        self._figures = figures
        self._pictures = pictures
        self._clock = clock
        self._measuring = measuring
        self._patience = Patience(self._execution.early_stop_patience, self._monitor.mode)
        self.progress = Progress(task, clock)

    # --- state in the checkpoint -------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the figures of the epochs, and the state of early stopping."""
        return {**self._figures.state_dict(), "patience": self._patience.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._figures.load_state_dict(state_dict)
        self._patience.load_state_dict(state_dict["patience"])

    def named_state(self) -> dict[str, Any]:
        """Return the same state by name and without clock times, for a drill to compare."""
        return {**self._figures.named_state(), "early stopping": self._patience.state_dict()}

    # --- what Lightning calls ------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record where training begins, and prepare what must be ready before the first step."""
        data, module, step = data_of(trainer), module_of(trainer), trainer.global_step
        position = data.position
        module.epoch_start = position
        last_parameter = settle_ddp_buckets(trainer, module, data)
        if last_parameter is not None:
            self._clock.watch_gradients(last_parameter, trainer.strategy.model)  # type: ignore[arg-type]
        self._rank.ledger.append(
            "training_started",
            step=step,
            epoch=position.epoch,
            micro_batch=position.micro_batch,
            sample=position.sample,
            ranks=self._world.ranks,
            batch_size=self._world.batch_size,
            samples=self._world.samples,
        )
        if self._rank.rank == 0:
            self.write_rows()
        self._committer.start(step)
        self._figures.training_begins()
        self._heartbeat.start_counting()
        self._heartbeat.note(began_at=time.time(), began_step=step)
        self._measuring.begin(step)
        enough = self._measuring.is_enough(step, self.rows)
        trainer.should_stop = self._patience.exhausted or enough
        # after the DDP buckets, which draw from the generators
        self._checkpoints.restore_rng()
        self.progress.report(trainer, "training")
        self._clock.begin(step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the legacy globals, and start the clock of the epoch."""
        position = data_of(trainer).position
        module_of(trainer).epoch_start = position
        self._task.require_same_globals(f"before epoch {position.epoch}")
        self._figures.epoch_begins()
        self._heartbeat.own_work_begins()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note that a micro-batch has been loaded."""
        self._committer.step_begins()
        self._rank.moved("computing a step")

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor
    ) -> None:
        """Note that this rank may wait for the others from here on."""
        self._heartbeat.own_work_ends()
        self._rank.moved("the backward pass, where gradients are reduced")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Count the micro-batch; at the end of an optimizer step, stop or commit if it is due."""
        done = self._count_batch(trainer, batch_idx)
        epoch_ends = done == self._world.samples
        if epoch_ends or (batch_idx + 1) % self._window == 0:
            self._end_step(trainer, epoch_ends=epoch_ends)
        self._heartbeat.own_work_begins()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the validation if a rank was asked to."""
        self._committer.pause()
        self.progress.report(trainer, "validating")
        self._rank.moved("validating")
        stop_agreed, *_ = self._agreement.now(self._stop_wanted(), *_NOTHING_ELSE)
        if stop_agreed:
            self._give_up_validation(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *batch: Any, **place: Any
    ) -> None:
        """Stop within the validation if a rank was asked to."""
        self._rank.moved("validating")
        stop_agreed, *_ = self._agreement.turn(self._stop_wanted(), *_NOTHING_ELSE)
        if stop_agreed:
            self._give_up_validation(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the figures of the epoch, commit, report, draw, and stop if it is due."""
        data, module = data_of(trainer), module_of(trainer)
        row = self._figures.epoch_ends(
            module,
            data.position.epoch,
            trainer.global_step,
            trainer.optimizers[0].param_groups[0]["lr"],
            data.train.group_size,
            validated=data.test is not None,
        )
        monitored = row["train_loss" if self._monitor.split == "train" else "val_loss"]
        self._watch_loss(trainer, math.nan if monitored is None else monitored)
        data.position = Position(data.position.epoch + 1)
        enough = self._patience.exhausted or self._measuring.is_enough(
            trainer.global_step, self.rows
        )
        last = data.position.epoch == self._world.epochs or enough
        boundary = Boundary(ends_epoch=True, monitored=monitored)
        if self._execution.enable_checkpointing or last:
            self._checkpoints.commit(trainer, boundary, essential=last)
        self._report_epoch(trainer, row)
        # after the commit, which nothing may delay, and before a stop, after which the epoch is
        # not done again
        with self._clock.phase("validation"):
            self._pictures.draw(module, int(row["epoch"] or 0))
        if enough:
            trainer.should_stop = True
        elif not last:
            stop_agreed, _, enough = self._agreement.now(
                self._stop_wanted(), False, self._measuring.time_is_up
            )
            if enough:
                self._end_measurement(trainer, boundary)
            if stop_agreed:
                self._stop(trainer, boundary)

    # --- steps -------------------------------------------------------------------------------

    def _count_batch(self, trainer: Trainer, batch_idx: int) -> int:
        """Note what a micro-batch has used; return the samples of the epoch used by all ranks."""
        data = data_of(trainer)
        start, stop = data.train_sampler.share(batch_idx)
        epoch = data.position.epoch
        self._committer.used(epoch, start, stop)
        self._clock.used(stop - start)
        done = data.train_sampler.done_after(batch_idx)
        data.position = Position(epoch, batch_idx + 1, done)
        self._heartbeat.count_patterns((stop - start) * data.train.group_size)
        self._heartbeat.note(step=trainer.global_step)
        self._rank.moved("waiting for data")
        return done

    def _end_step(self, trainer: Trainer, *, epoch_ends: bool) -> None:
        """Count an optimizer step; stop or commit after it where all ranks agree."""
        step = trainer.global_step
        self._committer.step_done()
        self._clock.step_done()
        self._measuring.step_done(step)
        if epoch_ends:
            return  # validation or the end of the epoch follows at once, and can stop there
        self.progress.report(trainer, "training")
        stop_agreed, due, enough = self._agreement.turn(
            self._stop_wanted(), self._committer.due_by_time, self._measuring.time_is_up
        )
        if enough or self._measuring.is_enough(step, self.rows):
            self._end_measurement(trainer)
        if stop_agreed:
            self._stop(trainer)
        due = due or self._committer.due_by_steps(step)
        if due and self._execution.enable_checkpointing:
            self._checkpoints.commit(trainer)

    # --- epochs ------------------------------------------------------------------------------

    @property
    def rows(self) -> list[Row]:
        """One row of figures per finished epoch."""
        return self._figures.rows

    def write_rows(self) -> None:
        """Write the rows of all finished epochs, on rank 0; may be repeated."""
        self._figures.write()

    def _report_epoch(self, trainer: Trainer, row: Row) -> None:
        self.progress.last_loss = row["train_loss"]
        if self._rank.rank == 0:
            try:
                self._rank.ledger.append("epoch_finished", **row)
                self.write_rows()
            except OSError as error:  # the rows are written again after the next epoch
                log.warning(
                    "the figures of epoch %s are not written: %s", row["epoch"], error.strerror
                )
        self._heartbeat.note(epoch_at=time.time(), epoch_step=trainer.global_step)
        self.progress.report(trainer, "training", now=True)

    def _watch_loss(self, trainer: Trainer, value: float) -> None:
        """Lower the learning rate or lose patience; the value is equal on all ranks."""
        plateau = module_of(trainer).plateau
        before = plateau.factor
        if plateau.watch(value):
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= plateau.factor / before
        self._patience.watch(value)

    # --- stops -------------------------------------------------------------------------------

    def _stop_wanted(self) -> bool:
        lead_s = self._task.config.requeue.signal_lead_s
        return stop_wanted(self._rank, lead_s, self._committer.needed_lead_s)

    def _give_up_validation(self, trainer: Trainer) -> NoReturn:
        """Stop now to keep the lead; the whole validation is done after the resume."""
        module_of(trainer).val_sums = LossSums()
        self._stop(trainer, Boundary(before_validation=True))

    def _stop(self, trainer: Trainer, boundary: Boundary = WITHIN_EPOCH) -> NoReturn:
        self._checkpoints.commit(trainer, boundary, essential=True)
        self._rank.record_stop(trainer.global_step)
        raise StoppedOnRequest(trainer.global_step)

    def _end_measurement(self, trainer: Trainer, boundary: Boundary = WITHIN_EPOCH) -> NoReturn:
        self._measuring.note_enough()
        self._checkpoints.commit(trainer, boundary, essential=True)
        raise MeasuredEnough(trainer.global_step)
