"""Which rank holds up the others: a pure function of what the ranks have said (RD-206).

The ranks of a data-parallel training go in step: none is ahead by more than one, and all show the
same patterns/s, that of the slowest. What tells the slowest is the time that it needs by itself
before the gradients are summed; the others spend the difference waiting.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from ptycho_dist.rundir.checked_json import number
from ptycho_dist.rundir.heartbeat import Heartbeat

SLOWER = 1.5
"""Own work of a straggler, as a multiple of the others' median."""
NOTICEABLE = 0.1
"""The least part of a micro-batch for which it keeps the others waiting."""
SILENT_S = 90
"""Ranks speak every 10 s, and NFS shows a file up to 60 s late."""
_AT_WORK = frozenset({"starting", "joining", "training", "validating", "reconstructing"})


def stragglers(heartbeats: Sequence[Heartbeat]) -> Mapping[int, str]:
    """Rank → why it is one, in words; the ranks that have ended are left out."""
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
            own_words = f"{own[rank]:.3g} s of own work a batch"
            found[rank] = f"is slow: {own_words}, the others {others:.3g} s"
    return found


def _silent(at_work: Sequence[Heartbeat]) -> dict[int, str]:
    spoke = {heartbeat.rank: heartbeat.updated_at for heartbeat in at_work}
    return {
        rank: f"is silent for {others - spoke[rank]:.0f} s longer than the others"
        for rank, others in _medians_of_others(spoke).items()
        if others - spoke[rank] > SILENT_S
    }


def _medians_of_others(values: Mapping[int, float]) -> dict[int, float]:
    """For each rank the median of the other ranks' values; none where there are no others.

    Sorted once: a thousand ranks are looked at twice a second.
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
