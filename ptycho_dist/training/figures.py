"""The figures of a run's epochs: sums over all ranks, and one row per finished epoch."""

from __future__ import annotations

import math
import time
from typing import Any

from ptycho_dist.errors import DivergedLoss
from ptycho_dist.rundir.drill_trace import without_clock
from ptycho_dist.training.loggers import Logger, open_logger
from ptycho_dist.training.metrics import Row
from ptycho_dist.training.module import LossSums, PtychoModule
from ptycho_dist.training.task import TrainingTask


class EpochFigures:
    """The rows of the finished epochs and the sums of the current one; part of each checkpoint."""

    def __init__(self, task: TrainingTask) -> None:
        self._agreement = task.rank.agreement
        self._backend = task.config.execution.logger_backend
        self._folder = task.run.metrics
        self.rows: list[Row] = []
        self._sums = [0.0, 0.0]  # loss and samples of this epoch, over all ranks
        self._began = time.monotonic()
        self._seconds = 0.0  # spent on this epoch before the last resume
        self._logger: Logger | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return rows, sums and time as plain values."""
        return {"rows": self.rows, "epoch_sums": self._sums, "epoch_seconds": self._elapsed()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rows = list(state["rows"])
        self._sums = list(state["epoch_sums"])
        self._seconds = float(state["epoch_seconds"])

    def named_state(self) -> dict[str, Any]:
        """Return the state by name and without clock times, for a drill to compare."""
        return {
            "rows of finished epochs": [without_clock(row) for row in self.rows],
            "sums of the unfinished epoch": self._sums,
        }

    def training_begins(self) -> None:
        """Let the clock of the current epoch continue from now on."""
        self._began = time.monotonic()

    def epoch_begins(self) -> None:
        """Start the clock of an epoch at zero."""
        self._began, self._seconds = time.monotonic(), 0.0

    def gather(self, module: PtychoModule, epoch: int, step: int) -> None:
        """Add the loss sums of all ranks, which call this together.

        Raises:
            DivergedLoss: the sum is not finite; on all ranks, before anything is committed.
        """
        own, module.train_sums = module.train_sums, LossSums()
        total, count = self._agreement.sum([own.total, own.count])
        self._sums = [self._sums[0] + total, self._sums[1] + count]
        if not math.isfinite(self._sums[0]):
            raise DivergedLoss(
                f"the training loss is no longer finite in epoch {epoch}, step {step}; lower "
                "execution.learning_rate or set execution.gradient_clip_val, and submit a new run"
            )

    def epoch_ends(
        self,
        module: PtychoModule,
        epoch: int,
        step: int,
        learning_rate: float,
        group_size: int,
        *,
        validated: bool,
    ) -> Row:
        """Make the row of an epoch from the sums, and reset them; all ranks call this together.

        Args:
            module: holds the sums of this rank.
            epoch: counted from 0.
            step: optimizer steps done in the run.
            learning_rate: that of the first parameter group.
            group_size: patterns per sample.
            validated: whether the module holds the sums of a validation.
        """
        self.gather(module, epoch, step)
        val_loss = None
        if validated:
            sums, module.val_sums = module.val_sums, LossSums()
            val_total, val_count = self._agreement.sum([sums.total, sums.count])
            val_loss = val_total / val_count if val_count and math.isfinite(val_total) else None
        (total, samples), seconds = self._sums, self._elapsed()
        row: Row = {
            "epoch": epoch,
            "step": step,
            "train_loss": total / samples,
            "val_loss": val_loss,
            "learning_rate": learning_rate,
            "samples": int(samples),
            "seconds": round(seconds, 3),
            "patterns_per_s": round(samples * group_size / seconds, 1),
        }
        self.rows.append(row)
        self._sums = [0.0, 0.0]
        self.epoch_begins()
        return row

    def write(self) -> None:
        """Write the rows of all finished epochs; on rank 0, and may be repeated."""
        if self._logger is None:
            self._logger = open_logger(self._backend, self._folder)
        self._logger(self.rows)

    def _elapsed(self) -> float:
        return self._seconds + time.monotonic() - self._began
