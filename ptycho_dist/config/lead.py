"""How long before its end a job must be told to stop: from measured step and checkpoint times."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ptycho_dist.config.resources import RequeueConfig

UNMEASURED_S = 120
START_UP_S = 60
"""What imports, joining and reading take before the first step, as a rule."""
_LEAVE_S = 30
"""For the ranks to leave together, and for the batch script to record the end."""


@dataclass(frozen=True)
class Measured:
    """What a run, or an earlier one of the same name and world, took at most."""

    step_s: float
    """One optimizer step."""
    checkpoint_s: float
    """One checkpoint, from the ranks' agreement on it to its commit."""


def needed_lead(measured: Measured) -> int:
    """Seconds that a stop needs: twice two steps (one at work, one until all have agreed) and a
    checkpoint, and 30 s to leave (specs/resume.md, RS-020)."""
    return math.ceil(2 * (2 * measured.step_s + measured.checkpoint_s)) + _LEAVE_S


def planned_lead(requeue: RequeueConfig, measured: Measured | None) -> int:
    """The lead of a plan: as the config says, or as was measured."""
    if requeue.signal_lead_s != "auto":
        return requeue.signal_lead_s
    return UNMEASURED_S if measured is None else needed_lead(measured)
