"""Which positions of an epoch's order a rank has used, as few numbers however long the epoch is.

A rank takes one range of each micro-batch. Equal shares lie at equal distances, so that an epoch
of them is one progression `[start, length, every, times]`: the ranges
[start + i·every, start + i·every + length) for i < times (specs/run_directory.md, RD-054).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ptycho_dist.rundir.checked_json import LARGEST, short


class Progression(NamedTuple):
    """Ranges of one length at equal distances; a single range has `every` = `length`."""

    start: int
    length: int
    every: int
    times: int

    @property
    def stop(self) -> int:
        """The end of the last range."""
        return self.start + (self.times - 1) * self.every + self.length

    @property
    def samples(self) -> int:
        """Positions in all ranges together."""
        return self.length * self.times


class ConsumedRanges:
    """The ranges that one rank has used, in the order of their use."""

    def __init__(self) -> None:
        self._entries: list[Progression] = []

    def add(self, start: int, stop: int) -> None:
        """Take up the half-open range [start, stop); an empty one leaves no trace."""
        if stop > start:
            join(self._entries, Progression(start, stop - start, stop - start, 1))

    def to_json(self) -> list[list[int]]:
        """For the ledger: `[start, length, every, times]` each."""
        return [list(entry) for entry in self._entries]


def join(entries: list[Progression], more: Progression) -> None:
    """Put `more` behind the others: into the last of them where it carries that one on."""
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
    """What `ConsumedRanges.to_json` gave, from a file that anybody may have written.

    Raises:
        ValueError: it is not a list of `[start, length, every, times]`, or one of them overlaps
            itself or holds a number that is too large.
    """
    if not isinstance(data, list):
        raise ValueError(f"ranges are a list, not {short(data)}")
    return [_progression(entry) for entry in data]


def expand(ranges: object) -> Iterator[tuple[int, int]]:
    """Half-open ranges (start, stop), one after the other; all of `ranges` is checked before.

    Raises:
        ValueError: as `read_ranges`.
    """
    progressions = read_ranges(ranges)
    return (
        (start, start + each.length)
        for each in progressions
        for start in range(each.start, each.stop, each.every)
    )


def _progression(entry: object) -> Progression:
    if not isinstance(entry, list) or len(entry) != 4 or any(type(n) is not int for n in entry):
        raise ValueError(f"a range is [start, length, every, times], not {short(entry)}")
    found = Progression(*entry)
    if found.start < 0 or found.length < 1 or found.times < 1 or found.every < found.length:
        raise ValueError(
            f"range {short(entry)}: start ≥ 0, length ≥ 1, every ≥ length and times ≥ 1 are needed"
        )
    if found.stop > LARGEST:
        raise ValueError(f"range {short(entry)}: reaches beyond 2^53")
    return found
