"""Goodput: the part of a run's time in which steps were made that are in its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ptycho_dist.rundir.step_times import RankTimes

_NO_STEP = ("checkpoint", "validation")
"""Phases in which no step is made."""


@dataclass(frozen=True)
class AttemptTimes:
    """One attempt."""

    seconds: float
    """From its start to its end."""
    ranks: tuple[RankTimes, ...]


def goodput(attempts: Sequence[AttemptTimes]) -> float:
    """Σ time of steps that are in the weights / Σ time of all attempts, 0 to 1; mean over ranks.

    An attempt that went on from step s has thrown away what those before it did after s. Start-up,
    checkpoints and validation make no steps.

    Args:
        attempts: of a run that has finished, in order.
    """
    total = sum(attempt.seconds for attempt in attempts)
    kept, until = 0.0, float("inf")
    for attempt in reversed(attempts):
        kept += fmean([_kept_s(each, until) for each in attempt.ranks] or [0.0])
        begun = [each.blocks[0].first_step for each in attempt.ranks if each.blocks]
        until = min([until, *begun])
    return min(1.0, kept / total) if total > 0 else 0.0


def _kept_s(times: RankTimes, until: float) -> float:
    """Seconds of the steps that a rank made before step `until`."""
    kept = 0.0
    for block in times.blocks:
        share = min(1.0, max(0.0, (until - block.first_step) / block.steps))
        made = block.wall_s - sum(block.parts_s.get(phase, 0.0) for phase in _NO_STEP)
        kept += share * max(0.0, made)
    return kept
