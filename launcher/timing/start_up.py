"""Where the time before the first step of a point went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ptycho_dist.rundir.step_times import START_UP, RankTimes


@dataclass(frozen=True)
class Occupied:
    """A time in which an attempt of a point was at work, in seconds since the epoch."""

    index: int
    """Of the point."""
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

    It could from the last of these on: its submission, the end of its own attempt before, and the
    end of another point's by which a lane of the chain came free.

    Args:
        started_at: when the attempt began.
        index: of its point.
        submitted: when jobs of the point were submitted.
        occupied: the attempts of all points.
        lanes: how many points may run beside each other.
    """
    could = [at for at in submitted if at <= started_at]
    for each in occupied:
        if each.ended > started_at:
            continue
        beside = sum(
            other.index != index and other.began < each.ended <= other.ended for other in occupied
        )
        if each.index == index or beside >= lanes:
            could.append(each.ended)
    return started_at - max(could, default=started_at)


def start_up_s(started_at: float, ranks: Sequence[RankTimes]) -> dict[str, float]:
    """`launch`, from the start of an attempt to the first rank's process, then each part of
    START_UP as the slowest rank has it; what no rank tells of is left out.

    Args:
        started_at: when the attempt began, in seconds since the epoch.
        ranks: what they wrote in it.
    """
    begun = [each.started_at for each in ranks if each.started_at is not None]
    parts = {"launch": max(0.0, min(begun) - started_at)} if begun else {}
    for part in START_UP:
        told = [each.start_up_s[part] for each in ranks if part in each.start_up_s]
        if told:
            parts[part] = max(told)
    return parts
