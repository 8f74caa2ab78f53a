"""Which positions of an epoch's order a rank has used, in few numbers however long the epoch is.

A rank takes one range of each micro-batch. Equal shares lie at equal distances, so an epoch of
them is one progression `[start, length, every, times]`: the ranges
[start + i·every, start + i·every + length) for i < times (specs/run_directory.md, RD-054).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ptycho_dist.rundir.checked_json import LARGEST, short


class Progression(NamedTuple):
    """Ranges of equal length at equal distances; a single range has `every` = `length`."""

    start: int
    """First position of the first range."""
    length: int
    """Positions per range."""
    every: int
    """Distance between the starts of neighbouring ranges."""
    times: int
    """Number of ranges."""

    @property
    def stop(self) -> int:
        """End of the last range (exclusive)."""
        return self.start + (self.times - 1) * self.every + self.length

    @property
    def samples(self) -> int:
        """Number of positions in all ranges together."""
        return self.length * self.times


class ConsumedRanges:
    """The ranges that one rank has used, in the order of their use."""

    def __init__(self) -> None:
        self._entries: list[Progression] = []

    def add(self, start: int, stop: int) -> None:
        """Add the half-open range [start, stop); an empty range is ignored."""
        if stop > start:
            join(self._entries, Progression(start, stop - start, stop - start, 1))

    def to_json(self) -> list[list[int]]:
        """Plain data for the ledger: one `[start, length, every, times]` per progression."""
        return [list(entry) for entry in self._entries]


def join(entries: list[Progression], more: Progression) -> None:
    """Append `more` to the entries, or extend the last entry if `more` continues it."""
    start, length, every, times = more
    if times == 1 or every == length:  # without holes: one longer range
        start, length, every, times = start, length * times, length * times, 1
    if entries:
        last = entries[-1]
        if last.times == 1 and times == 1 and start == last.stop:
            joined = last.length + length
            entries[-1] = Progression(last.start, joined, joined, 1)
            return
        step = start - last.start - (last.times - 1) * last.every
        fits_last = last.times == 1 or step == last.every
        fits_more = times == 1 or step == every
        if length == last.length and step > length and fits_last and fits_more:
            entries[-1] = Progression(last.start, length, step, last.times + times)
            return
    entries.append(Progression(start, length, every, times))


def read_ranges(data: object) -> list[Progression]:
    """Check and decode untrusted data in the format of `ConsumedRanges.to_json`.

    Raises:
        ValueError: it is not a list of `[start, length, every, times]`, or an entry overlaps
            itself or contains a number that is too large.
    """
    if not isinstance(data, list):
        raise ValueError(f"ranges must be a list, found {short(data)}")
    return [_progression(entry) for entry in data]


def expand(ranges: object) -> Iterator[tuple[int, int]]:
    """Return all half-open ranges (start, stop) in order; `ranges` is checked first.

    Raises:
        ValueError: as in `read_ranges`.
    """
    progressions = read_ranges(ranges)
    return (
        (start, start + each.length)
        for each in progressions
        for start in range(each.start, each.stop, each.every)
    )


def _progression(entry: object) -> Progression:
    if not isinstance(entry, list) or len(entry) != 4 or any(type(n) is not int for n in entry):
        raise ValueError(f"a range must be [start, length, every, times], found {short(entry)}")
    found = Progression(*entry)
    if found.start < 0 or found.length < 1 or found.times < 1 or found.every < found.length:
        raise ValueError(
            f"range {short(entry)}: needs start ≥ 0, length ≥ 1, every ≥ length and times ≥ 1"
        )
    if found.stop > LARGEST:
        raise ValueError(f"range {short(entry)}: exceeds 2^53")
    return found
