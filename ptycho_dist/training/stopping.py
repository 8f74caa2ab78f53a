"""When a rank wants the training to stop, and the exception that ends it then."""

from __future__ import annotations

import time
from typing import Literal

from ptycho_dist.runtime.joined_rank import JoinedRank


class StoppedOnRequest(Exception):
    """All ranks have stopped at the same optimizer step, and its checkpoint is committed."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped on request at step {step}")
        self.step = step


def stop_wanted(rank: JoinedRank, lead_s: float | Literal["auto"], measured_lead_s: float) -> bool:
    """Return whether this rank was asked to stop; it asks itself when the walltime is near.

    Args:
        rank: this rank.
        lead_s: `requeue.signal_lead_s`, seconds before the walltime at which to stop.
        measured_lead_s: seconds that a stop would take now; used when `lead_s` is `auto`.
    """
    ends_at = rank.joined.attempt.ends_at
    needed_s = measured_lead_s if lead_s == "auto" else lead_s
    if not rank.stop.requested and ends_at is not None and time.time() + needed_s >= ends_at:
        rank.stop.ask("walltime")
    return rank.stop.requested
