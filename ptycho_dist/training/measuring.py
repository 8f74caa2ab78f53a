"""When a run of a scaling study has measured enough (`measurement` in plan.json)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from ptycho_dist.config.monitor import Monitor
from ptycho_dist.rundir.measurement_plan import MeasurementPlan
from ptycho_dist.training.metrics import Row


class MeasuredEnough(Exception):
    """All ranks have ended at the same optimizer step, and its checkpoint is committed."""

    def __init__(self, step: int) -> None:
        super().__init__(f"measured enough at step {step}")
        self.step = step


class Measuring:
    """Decides when a run has measured enough; without a plan it never has."""

    def __init__(self, plan: MeasurementPlan | None, monitor: Monitor, rank: int) -> None:
        self.plan = plan
        self._monitor = monitor
        self._rank = rank
        self._first_step = 0
        self._counts_from: int | None = None  # the step that ended the warm-up of this attempt
        self._began: float | None = None
        self._ended: float | None = None
        self._reached_at: float | None = None

    def begin(self, step: int) -> None:
        """Note the optimizer step at which this attempt begins."""
        self._first_step = step
        self.step_done(step)

    def step_done(self, step: int) -> None:
        """Note that optimizer step `step` is done; the warm-up may be over with it."""
        if self.plan is None:
            return
        now = time.monotonic()
        if self._began is None and step - self._first_step >= self.plan.warm_up_steps:
            self._began, self._counts_from = now, step
        self._ended = now

    @property
    def time_is_up(self) -> bool:
        """Whether the clock of rank 0 says that enough is measured, after the last step done.

        It is false on all other ranks; all ranks must agree on it.
        """
        plan = self.plan
        if plan is None or plan.until != "seconds" or self._rank > 0 or self._began is None:
            return False
        return time.monotonic() - self._began >= plan.value

    def is_enough(self, step: int, rows: Sequence[Row]) -> bool:
        """Return whether it is enough by the number of steps or by the loss; equal on all ranks.

        Args:
            step: optimizer steps of the whole run.
            rows: figures of the finished epochs.
        """
        plan = self.plan
        if plan is None:
            return False
        if plan.until == "steps":
            enough = step >= plan.warm_up_steps + plan.value
        elif plan.until == "target_loss" and rows:
            loss = rows[-1]["train_loss" if self._monitor.split == "train" else "val_loss"]
            enough = loss is not None and loss <= plan.value
        else:
            enough = False
        if enough:
            self.note_enough()
        return enough

    def note_enough(self) -> None:
        """Note that all ranks have agreed that it is enough."""
        self._reached_at = self._reached_at or time.time()

    def to_json(self, step: int) -> dict[str, Any]:
        """Return the entry of result.json; empty without a plan.

        `reached` is false if the epochs ended first. `steps` and `seconds` count from the end of
        the last attempt's warm-up, by the clock of rank 0.
        """
        if self.plan is None:
            return {}
        seconds = None if self._began is None else (self._ended or self._began) - self._began
        return {
            "measured": {
                **self.plan.to_json(),
                "reached": self._reached_at is not None,
                "reached_at": self._reached_at,
                "steps": 0 if self._counts_from is None else step - self._counts_from,
                "seconds": None if seconds is None else round(seconds, 4),
            }
        }
