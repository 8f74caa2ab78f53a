"""The lead: how long before its walltime a job is asked to stop."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptycho_dist.config.resources import RequeueConfig

UNMEASURED_S = 120
"""Lead of a run for which nothing was measured yet."""
START_UP_S = 60
"""Usual time for imports, joining and reading before the first step."""
_LEAVE_S = 30
"""Time for the ranks to leave together and for the batch script to record the end."""


@dataclass(frozen=True)
class Measured:
    """Longest times of a run, or of an earlier run of the same name and world."""

    step_s: float
    """The longest optimizer step."""
    checkpoint_s: float
    """The longest checkpoint, from the agreement of the ranks to the commit."""


def needed_lead(measured: Measured) -> int:
    """Seconds that a requested stop needs (specs/resume.md, RS-020).

    2 × (2 steps + 1 checkpoint) + 30 s: the step at work and the one until all ranks have agreed,
    the checkpoint, a safety factor of 2, and time to leave.
    """
    return math.ceil(2 * (2 * measured.step_s + measured.checkpoint_s)) + _LEAVE_S


def planned_lead(requeue: RequeueConfig, measured: Measured | None) -> int:
    """Return the lead of a plan in seconds: as the config says, or else from measured times."""
    if requeue.signal_lead_s != "auto":
        return requeue.signal_lead_s
    return UNMEASURED_S if measured is None else needed_lead(measured)
