"""Where the time before the first step of a run went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptycho_dist.rundir.step_times import START_UP, RankTimes

STAGES = ("queue", "launch", *START_UP)
"""Stages from the queue to the first batch, in their order."""
STAGE_NAMES = {
    "queue": "queue",
    "launch": "launch",
    "imports": "imports",
    "rendezvous": "rendezvous",
    "staging": "data staging",
    "opening": "opening",
    "first_batch": "first batch",
}
"""The names of STAGES in every report."""


@dataclass(frozen=True)
class Occupied:
    """A time in which an attempt of a point was at work, in seconds since the epoch."""

    index: int
    """Index of the point."""
    began: float
    ended: float


def queue_s(
    started_at: float,
    index: int,
    submitted: Sequence[float],
    occupied: Sequence[Occupied],
    lanes: int,
) -> float:
    """Seconds for which an attempt waited although it could have begun.

    It could begin from the latest of these moments on: its submission, the end of its own previous
    attempt, and the end of another point's attempt that freed a lane of the chain.

    Args:
        started_at: when the attempt began.
        index: index of its point.
        submitted: when jobs of the point were submitted.
        occupied: the attempts of all points.
        lanes: how many points may run at the same time.
    """
    could = [at for at in submitted if at <= started_at]
    for each in occupied:
        if each.ended > started_at:
            continue
        # The end of another point's attempt frees a lane only if all other lanes are occupied.
        beside = sum(
            other.index != index and other.began < each.ended <= other.ended for other in occupied
        )
        if each.index == index or beside >= lanes:
            could.append(each.ended)
    return started_at - max(could, default=started_at)


def start_up_s(started_at: float | None, ranks: Sequence[RankTimes]) -> dict[str, float]:
    """Seconds in `launch` and in each stage of START_UP, those of the slowest rank in each.

    `launch` lasts from the start of the attempt to the start of the first rank's process. A stage
    that no rank recorded is left out.

    Args:
        started_at: start of the attempt, in seconds since the epoch; None: unknown.
        ranks: what the ranks wrote in this attempt.
    """
    stages: dict[str, float] = {}
    begun = [each.started_at for each in ranks if each.started_at is not None]
    if begun and started_at is not None:
        stages["launch"] = max(0.0, min(begun) - started_at)
    for stage in START_UP:
        recorded = [each.start_up_s[stage] for each in ranks if stage in each.start_up_s]
        if recorded:
            stages[stage] = max(recorded)
    return stages
