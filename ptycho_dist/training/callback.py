"""What a run does beside computing: say how far it is, agree on stopping, commit checkpoints."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from ptycho_dist.config.monitor import Monitor
from ptycho_dist.config.run import RunConfig
from ptycho_dist.config.world import World
from ptycho_dist.data.loader import Position
from ptycho_dist.rundir.heartbeat import State
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.runtime.joined_rank import JoinedRank
from ptycho_dist.training.commit import Committer
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.ddp_buckets import settle_buckets
from ptycho_dist.training.epoch_pictures import ReconstructionLog
from ptycho_dist.training.figures import EpochFigures
from ptycho_dist.training.measuring import MeasurementHad, Measuring
from ptycho_dist.training.metrics import Row
from ptycho_dist.training.module import LossSums, PtychoModule
from ptycho_dist.training.run_state import (
    begin_validation_anew,
    put_run_state,
    require_same_world,
    restore_own_rng,
    schedule_shift,
)
from ptycho_dist.training.schedule import Patience
from ptycho_dist.training.step_clock import StepClock

log = logging.getLogger(__name__)


class StoppedOnRequest(Exception):
    """All ranks have stopped at the same optimizer step, and a checkpoint of it is committed."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped on request at step {step}")
        self.step = step


class RunCallback(Callback):
    """Keeps the run directory in step with the training, on every rank."""

    def __init__(
        self,
        run: RunDirectory,
        config: RunConfig,
        world: World,
        rank: JoinedRank,
        monitor: Monitor,
        committer: Committer,
        pictures: ReconstructionLog,
        clock: StepClock,
        measuring: Measuring,
        *,
        may_resize: bool,
    ) -> None:
        self._run = run
        self._config = config
        self._world = world
        self._window = world.accum_steps
        self._rank = rank
        self._agreement = rank.agreement
        self._ledger = rank.ledger
        self._report = rank.report
        self._committer = committer
        self._pictures = pictures
        self._clock = clock
        self._measuring = measuring
        self._may_resize = may_resize
        self._figures = EpochFigures(run, rank, config.execution.logger_backend)
        self.last_loss: float | None = None
        """Mean of the epoch at work, as far as it is known."""
        self._monitor = monitor
        self._monitored: float | None = None  # of the epoch that is being committed
        self._ends_epoch = False  # the checkpoint that is being made
        self._validates = False  # the checkpoint that is being made stands before a validation
        self._patience = Patience(config.execution.early_stop_patience, monitor.mode)
        self._execution = config.execution
        self._rng: torch.Tensor | None = None

    # --- state in the checkpoint -------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Figures of the epochs, and what early stopping has seen."""
        return {**self._figures.state_dict(), "patience": self._patience.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up those of the committed lineage."""
        self._figures.load_state_dict(state_dict)
        self._patience.load_state_dict(state_dict["patience"])

    def kept(self) -> dict[str, Any]:
        """The same by name, without clock times, for a drill to compare."""
        return {**self._figures.kept(), "early stopping": self._patience.state_dict()}

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["monitored"] = self._monitored
        put_run_state(
            checkpoint,
            _data(trainer).position,
            self._world,
            self._agreement,
            self._rank.device.torch,
            ends_epoch=self._ends_epoch,
        )
        if self._validates:
            begin_validation_anew(checkpoint)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        data, module = _data(trainer), _module(trainer)
        resized = require_same_world(checkpoint, self._world, resize=self._may_resize)
        self._rng = checkpoint["rng"]
        if resized:
            module.schedule_shift = schedule_shift(
                data.position, self._world, int(checkpoint["global_step"])
            )

    # --- hooks -------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data, module = _data(trainer), _module(trainer)
        position = data.position
        module.epoch_start = position
        last_parameter = settle_buckets(trainer, module, data)
        if last_parameter is not None:
            self._clock.watch_gradients(last_parameter, trainer.strategy.model)  # type: ignore[arg-type]
        self._ledger.append(
            "training_started",
            step=trainer.global_step,
            epoch=position.epoch,
            micro_batch=position.micro_batch,
            sample=position.sample,
            ranks=self._world.ranks,
            batch_size=self._world.batch_size,
            samples=self._world.samples,
        )
        if self._rank.rank == 0:
            self.write_rows()
        self._committer.start(trainer.global_step)
        self._figures.training_begins()
        self._report.start_counting()
        self._report.note(began_at=time.time(), began_step=trainer.global_step)
        self._measuring.begin(trainer.global_step)
        enough = self._measuring.had(trainer.global_step, self.rows)
        trainer.should_stop = self._patience.exhausted or enough
        if self._rng is not None:
            restore_own_rng(
                self._rng, self._rank.rank, self._config.training.seed, self._rank.device.torch
            )
        self._say(trainer, "training")
        self._clock.begin(trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        position = _data(trainer).position
        _module(trainer).epoch_start = position
        self._committer.require_same_globals(f"before epoch {position.epoch}")
        self._figures.epoch_begins()
        self._report.own_work_begins()

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._committer.step_begins()
        self._rank.moved("computing a step")

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor
    ) -> None:
        self._report.own_work_ends()
        self._rank.moved("the backward pass, where gradients are reduced")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._batch_done(trainer, batch_idx)
        self._report.own_work_begins()

    def _batch_done(self, trainer: Trainer, batch_idx: int) -> None:
        data = _data(trainer)
        start, stop = data.train_sampler.share(batch_idx)
        epoch = data.position.epoch
        self._committer.used(epoch, start, stop)
        self._clock.used(stop - start)
        done = data.train_sampler.done_after(batch_idx)
        data.position = Position(epoch, batch_idx + 1, done)
        self._report.count_patterns((stop - start) * data.train.group_size)
        self._report.note(step=trainer.global_step)
        self._rank.moved("waiting for data")
        epoch_ends = done == self._world.samples
        if not epoch_ends and (batch_idx + 1) % self._window:
            return
        self._committer.step_done()
        self._clock.step_done()
        self._measuring.step_done(trainer.global_step)
        if epoch_ends:
            return  # its last step is followed by validation: it stops there, or after it
        self._say(trainer, "training")
        committer = self._committer
        stop_agreed, due, enough = self._agreement.turn(
            self._stop_wanted(), committer.due_by_time, self._measuring.wanted
        )
        if enough or self._measuring.had(trainer.global_step, self.rows):
            self._end_measurement(trainer)
        if stop_agreed:
            self._stop(trainer)
        if self._execution.enable_checkpointing and (
            due or committer.due_by_steps(trainer.global_step)
        ):
            self._commit(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._committer.pause()
        self._say(trainer, "validating")
        self._rank.moved("validating")
        stop_agreed, *_ = self._agreement.now(self._stop_wanted(), False, False)
        if stop_agreed:
            self._give_up_validation(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *batch: Any, **place: Any
    ) -> None:
        self._rank.moved("validating")
        stop_agreed, *_ = self._agreement.turn(self._stop_wanted(), False, False)
        if stop_agreed:
            self._give_up_validation(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data, module = _data(trainer), _module(trainer)
        row = self._figures.epoch_ends(
            module,
            data.position.epoch,
            trainer.global_step,
            trainer.optimizers[0].param_groups[0]["lr"],
            data.train.group_size,
            validated=data.test is not None,
        )
        monitored = row["train_loss" if self._monitor.split == "train" else "val_loss"]
        self._watch(trainer, math.nan if monitored is None else monitored)
        data.position = Position(data.position.epoch + 1)
        enough = self._patience.exhausted or self._measuring.had(trainer.global_step, self.rows)
        last = data.position.epoch == self._world.epochs or enough
        self._monitored, self._ends_epoch = monitored, True
        if self._execution.enable_checkpointing or last:
            self._commit(trainer, essential=last)
        self.last_loss = row["train_loss"]
        if self._rank.rank == 0:
            self._tell(row)
        self._report.note(epoch_at=time.time(), epoch_step=trainer.global_step)
        self._say(trainer, "training", now=True)
        # after the commit, which nothing may delay, and before a stop: the epoch is not done again
        with self._clock.phase("validation"):
            self._pictures.draw(module, int(row["epoch"] or 0))
        if enough:
            trainer.should_stop = True
        elif data.position.epoch < self._world.epochs:
            stop_agreed, _, enough = self._agreement.now(
                self._stop_wanted(), False, self._measuring.wanted
            )
            if enough:
                self._end_measurement(trainer)
            if stop_agreed:
                self._stop(trainer)
        self._monitored, self._ends_epoch = None, False

    # --- parts -------------------------------------------------------------------------------

    @property
    def rows(self) -> list[Row]:
        """One row per finished epoch."""
        return self._figures.rows

    def write_rows(self) -> None:
        """Keep the rows of all finished epochs; on rank 0, and as often as one likes."""
        self._figures.write()

    def _tell(self, row: Row) -> None:
        """What a disk that is full loses here is written with the next epoch, or at the end."""
        try:
            self._ledger.append("epoch_finished", **row)
            self.write_rows()
        except OSError as error:
            log.warning("the figures of epoch %s are not written: %s", row["epoch"], error.strerror)

    def _watch(self, trainer: Trainer, value: float) -> None:
        """The value is that of all ranks, so all lower the step size, or end, alike."""
        module = _module(trainer)
        before = module.plateau.factor
        if module.plateau.watch(value):
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= module.plateau.factor / before
        self._patience.watch(value)

    def _stop_wanted(self) -> bool:
        """Whether this rank was asked to stop; its own clock asks, too, when the walltime nears."""
        stop, ends_at = self._rank.stop, self._rank.joined.attempt.ends_at
        if not stop.requested and ends_at is not None:
            lead = self._config.requeue.signal_lead_s
            lead_s = self._committer.needed_lead_s if lead == "auto" else lead
            if time.time() + lead_s >= ends_at:
                stop.ask("walltime")
        return stop.requested

    def _give_up_validation(self, trainer: Trainer) -> None:
        """There is a lead to keep: the whole validation is done after the resume."""
        _module(trainer).val_sums = LossSums()
        self._validates = True
        self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        self._commit(trainer, essential=True)
        self._rank.say_stopped(trainer.global_step)
        raise StoppedOnRequest(trainer.global_step)

    def _end_measurement(self, trainer: Trainer) -> None:
        self._measuring.reached()
        self._commit(trainer, essential=True)
        raise MeasurementHad(trainer.global_step)

    def _commit(self, trainer: Trainer, *, essential: bool = False) -> None:
        with self._clock.phase("checkpoint"):
            if not self._ends_epoch:
                position, module = _data(trainer).position, _module(trainer)
                self._figures.gather(module, position.epoch, trainer.global_step)
            self._committer.commit(trainer, _data(trainer).position, essential=essential)

    def _say(self, trainer: Trainer, state: State, now: bool = False) -> None:
        if not now and not self._report.due(state):
            return
        self._clock.flush()
        sums = _module(trainer).train_sums
        if sums.count:
            loss = sums.total / sums.count
            self.last_loss = loss if math.isfinite(loss) else None
        self._report.say(
            state,
            epoch=_data(trainer).position.epoch,
            epochs=self._world.epochs,
            step=trainer.global_step,
            total_steps=self._world.total_steps,
            loss=self.last_loss,
        )


def _data(trainer: Trainer) -> PtychoData:
    data: PtychoData = trainer.datamodule  # type: ignore[attr-defined]
    return data


def _module(trainer: Trainer) -> PtychoModule:
    module: PtychoModule = trainer.lightning_module  # type: ignore[assignment]
    return module
