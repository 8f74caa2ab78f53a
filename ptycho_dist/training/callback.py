"""What a run does beside computing: say how far it is, agree on stopping, commit checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from ptycho_dist.checkpoint.catalog import checkpoint_name
from ptycho_dist.config.execution import PyTorchExecutionConfig
from ptycho_dist.config.monitor import Monitor
from ptycho_dist.config.world import World
from ptycho_dist.data.loader import Position
from ptycho_dist.errors import DivergedLoss
from ptycho_dist.rundir import LedgerWriter, RunDirectory
from ptycho_dist.rundir.heartbeat import State
from ptycho_dist.runtime.agreement import Agreement
from ptycho_dist.runtime.report import RankReport
from ptycho_dist.runtime.stop import StopRequest
from ptycho_dist.training.datamodule import PtychoData
from ptycho_dist.training.loggers import Logger, open_logger
from ptycho_dist.training.metrics import Row
from ptycho_dist.training.module import LossSums, PtychoModule
from ptycho_dist.training.recon_log import ReconstructionLog
from ptycho_dist.training.schedule import Patience


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
        world: World,
        rank: int,
        stop: StopRequest,
        agreement: Agreement,
        ledger: LedgerWriter,
        report: RankReport,
        monitor: Monitor,
        execution: PyTorchExecutionConfig,
        require_same_globals: Callable[[str], None],
        pictures: ReconstructionLog,
    ) -> None:
        self._run = run
        self._world = world
        self._rank = rank
        self._stop = stop
        self._agreement = agreement
        self._ledger = ledger
        self._report = report
        self._require_same_globals = require_same_globals
        self._pictures = pictures
        self._rows: list[Row] = []
        self._epoch_sums = [0.0, 0.0]  # loss and samples of this epoch, all ranks, as committed
        self._consumed: dict[int, list[list[int]]] = {}  # epoch → ranges since the last commit
        self._epoch_began = time.monotonic()
        self._epoch_seconds = 0.0  # spent on this epoch before the last resume
        self._last_loss: float | None = None
        self._monitor = monitor
        self._execution = execution
        self._monitored: float | None = None  # of the epoch that is being committed
        self._patience = Patience(execution.early_stop_patience, monitor.mode)
        self._logger: Logger | None = None

    # --- state in the checkpoint -------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Rows of the finished epochs and the sums of the unfinished one."""
        return {
            "rows": self._rows,
            "epoch_sums": self._epoch_sums,
            "epoch_seconds": self._seconds_in_epoch(),
            "patience": self._patience.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows and sums of the committed lineage."""
        self._rows = list(state_dict["rows"])
        self._epoch_sums = list(state_dict["epoch_sums"])
        self._epoch_seconds = float(state_dict["epoch_seconds"])
        self._patience.load_state_dict(state_dict["patience"])

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["monitored"] = self._monitored

    # --- hooks -------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        position = _data(trainer).position
        self._ledger.append(
            "training_started",
            step=trainer.global_step,
            epoch=position.epoch,
            micro_batch=position.micro_batch,
        )
        if self._rank == 0:
            self.write_rows()
        self._epoch_began = time.monotonic()
        self._report.start_counting()
        trainer.should_stop = self._patience.exhausted
        self._say(trainer, "training")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._require_same_globals(f"before epoch {_data(trainer).position.epoch}")
        self._epoch_began = time.monotonic()
        self._epoch_seconds = 0.0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        data = _data(trainer)
        start, stop = data.train_sampler.share(batch_idx)
        if stop > start:
            self._consumed.setdefault(data.position.epoch, []).append([start, stop])
        data.position = Position(data.position.epoch, batch_idx + 1)
        self._report.count_patterns((stop - start) * data.train.group_size)
        epoch_ends = batch_idx + 1 == self._world.micro_batches_per_epoch
        step_ends = (batch_idx + 1) % self._world.accum_steps == 0
        if epoch_ends or not step_ends:
            return  # an epoch's last step is followed by validation; it stops after that
        self._say(trainer, "training")
        self._stop_if_agreed(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._say(trainer, "validating")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data, module = _data(trainer), _module(trainer)
        self._gather_epoch_sums(module)
        self._require_finite(trainer)
        train_loss = self._epoch_sums[0] / self._epoch_sums[1]
        val_loss = None
        if data.test is not None:
            val_total, val_count = self._agreement.sum(
                [module.val_sums.total, module.val_sums.count]
            )
            val_loss = val_total / val_count if math.isfinite(val_total) else None
            module.val_sums = LossSums()
        seconds = self._seconds_in_epoch()
        row: Row = {
            "epoch": data.position.epoch,
            "step": trainer.global_step,
            "train_loss": train_loss,
            "val_loss": val_loss,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "samples": int(self._epoch_sums[1]),
            "seconds": round(seconds, 3),
            "patterns_per_s": round(self._epoch_sums[1] * data.train.group_size / seconds, 1),
        }
        self._rows.append(row)
        monitored = train_loss if self._monitor.split == "train" else val_loss
        self._watch(trainer, math.nan if monitored is None else monitored)
        self._epoch_sums = [0.0, 0.0]
        self._epoch_seconds = 0.0
        self._epoch_began = time.monotonic()
        data.position = Position(data.position.epoch + 1, 0)
        self._monitored = monitored
        last = data.position.epoch == self._world.epochs or self._patience.exhausted
        if self._execution.enable_checkpointing or last:
            self._commit(trainer)
        self._last_loss = train_loss
        if self._rank == 0:
            self._ledger.append("epoch_finished", **row)
            self.write_rows()
        self._say(trainer, "training", now=True)
        # after the commit, which nothing may delay, and before a stop: the epoch is not done again
        self._pictures.draw(module, int(row["epoch"] or 0))
        if self._patience.exhausted:
            trainer.should_stop = True
        elif data.position.epoch < self._world.epochs:
            self._stop_if_agreed(trainer)
        self._monitored = None

    # --- parts -------------------------------------------------------------------------------

    @property
    def rows(self) -> list[Row]:
        """One row per finished epoch."""
        return self._rows

    def write_rows(self) -> None:
        """Keep the rows of all finished epochs; on rank 0, and as often as one likes."""
        if self._logger is None:
            self._logger = open_logger(self._execution.logger_backend, self._run.metrics)
        self._logger(self._rows)

    def _watch(self, trainer: Trainer, value: float) -> None:
        """The value is that of all ranks, so all lower the step size, or end, alike."""
        module = _module(trainer)
        before = module.plateau.factor
        if module.plateau.watch(value):
            for group in trainer.optimizers[0].param_groups:
                group["lr"] *= module.plateau.factor / before
        self._patience.watch(value)

    def _stop_if_agreed(self, trainer: Trainer) -> None:
        if not self._agreement.any(self._stop.requested):
            return
        if self._stop.requested:
            self._ledger.append("stop_requested", signal=self._stop.signal_name)
        self._gather_epoch_sums(_module(trainer))
        self._require_finite(trainer)
        self._commit(trainer)
        self._ledger.append("stopped", step=trainer.global_step)
        self._say(trainer, "stopped", now=True)
        raise StoppedOnRequest(trainer.global_step)

    def _commit(self, trainer: Trainer) -> None:
        """All ranks save together; each first notes which samples the checkpoint stands for."""
        began = time.monotonic()
        step = trainer.global_step
        self._require_same_globals(f"before the checkpoint of step {step}")
        nothing: dict[int, list[list[int]]] = {_data(trainer).position.epoch: []}
        for epoch, ranges in (self._consumed or nothing).items():
            self._ledger.append("consumed", step=step, epoch=epoch, ranges=ranges)
        self._consumed = {}
        trainer.save_checkpoint(self._run.checkpoints / checkpoint_name(step))
        if self._rank == 0:
            self._ledger.append(
                "checkpoint_committed", step=step, seconds=round(time.monotonic() - began, 3)
            )

    def _gather_epoch_sums(self, module: PtychoModule) -> None:
        own, module.train_sums = module.train_sums, LossSums()
        total, count = self._agreement.sum([own.total, own.count])
        self._epoch_sums = [self._epoch_sums[0] + total, self._epoch_sums[1] + count]

    def _require_finite(self, trainer: Trainer) -> None:
        """The sums are those of all ranks, so all ranks end alike, before anything is committed."""
        if not math.isfinite(self._epoch_sums[0]):
            raise DivergedLoss(
                f"the training loss is no longer finite in epoch {_data(trainer).position.epoch}, "
                f"step {trainer.global_step}; lower execution.learning_rate or set "
                "execution.gradient_clip_val, and submit a new run"
            )

    def _seconds_in_epoch(self) -> float:
        return self._epoch_seconds + time.monotonic() - self._epoch_began

    def _say(self, trainer: Trainer, state: State, now: bool = False) -> None:
        if not now and not self._report.due(state):
            return
        sums = _module(trainer).train_sums
        if sums.count:
            loss = sums.total / sums.count
            self._last_loss = loss if math.isfinite(loss) else None
        self._report.say(
            state,
            epoch=_data(trainer).position.epoch,
            epochs=self._world.epochs,
            step=trainer.global_step,
            total_steps=self._world.total_steps,
            loss=self._last_loss,
        )


def _data(trainer: Trainer) -> PtychoData:
    data: PtychoData = trainer.datamodule  # type: ignore[attr-defined]
    return data


def _module(trainer: Trainer) -> PtychoModule:
    module: PtychoModule = trainer.lightning_module  # type: ignore[assignment]
    return module
