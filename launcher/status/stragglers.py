"""Finds the ranks that slow the others down, from what all ranks report (RD-206). Pure.

The ranks of a data-parallel training keep in step: no rank is ahead by more than one step, and all
show the same patterns/s, those of the slowest. The slowest rank is recognized by the time that it
needs before the gradients are summed; the other ranks spend the difference waiting.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from ptycho_dist.rundir.checked_json import number
from ptycho_dist.rundir.heartbeat import Heartbeat

SLOWER = 1.5
"""Own work of a straggler, as a multiple of the median of the other ranks."""
NOTICEABLE = 0.1
"""Least fraction of the time of a micro-batch for which a straggler keeps the others waiting."""
SILENT_S = 90
"""Seconds of silence beyond that of the others: ranks report every 10 s, and NFS shows a file up
to 60 s late."""
_AT_WORK = frozenset({"starting", "joining", "training", "validating", "reconstructing"})


def stragglers(heartbeats: Sequence[Heartbeat]) -> Mapping[int, str]:
    """Rank → why it is a straggler, in words; ranks that have ended are left out."""
    at_work = [heartbeat for heartbeat in heartbeats if heartbeat.state in _AT_WORK]
    if len(at_work) < 2:
        return {}
    return {**_slow(at_work), **_silent(at_work)}


def _slow(at_work: Sequence[Heartbeat]) -> dict[int, str]:
    own = {h.rank: s for h in at_work if (s := number(h.progress, "own_s")) is not None and s >= 0}
    found = {}
    medians = _medians_of_others(own)
    for heartbeat in at_work:
        rank, batch_s = heartbeat.rank, number(heartbeat.progress, "batch_s")
        if rank not in medians or batch_s is None:
            continue
        others = medians[rank]
        if own[rank] > SLOWER * others and own[rank] - others >= NOTICEABLE * batch_s > 0:
            found[rank] = (
                f"is slow: {own[rank]:.3g} s of own work per micro-batch, the others {others:.3g} s"
            )
    return found


def _silent(at_work: Sequence[Heartbeat]) -> dict[int, str]:
    spoke = {heartbeat.rank: heartbeat.updated_at for heartbeat in at_work}
    return {
        rank: f"has been silent for {others - spoke[rank]:.0f} s longer than the others"
        for rank, others in _medians_of_others(spoke).items()
        if others - spoke[rank] > SILENT_S
    }


def _medians_of_others(values: Mapping[int, float]) -> dict[int, float]:
    """Rank → the median of the values of the other ranks; empty if there are no others.

    The values are sorted only once, because a thousand ranks are examined twice a second.
    """
    if len(values) < 2:
        return {}
    order = sorted(values.values())
    return {rank: _median_without(order, value) for rank, value in values.items()}


def _median_without(order: Sequence[float], value: float) -> float:
    """The median of sorted values with one of them left out."""
    left_out, count = bisect_left(order, value), len(order) - 1

    def at(place: int) -> float:
        return order[place if place < left_out else place + 1]

    middle = count // 2
    return at(middle) if count % 2 else (at(middle - 1) + at(middle)) / 2
