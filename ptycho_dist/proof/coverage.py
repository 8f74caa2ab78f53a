"""What ranks recorded against what the order gives them: gaps, repeats and strangers, by name.

Equal progressions are equal without a look at their ranges; arrays of ranges are made only where
they differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.data.order import rank_share
from ptycho_dist.rundir.consumed import Progression, join

MOST_RANGES = 20_000_000
"""Of one epoch, of all ranks whose records differ: what is beyond is not taken apart."""
NAMED_RANGES = 500
"""Of one epoch; the others are counted."""
MOST_COPIES = 3
"""Of one range of one rank."""

Ranges = NDArray[np.int64]
"""(n, 2): half-open ranges."""


class User(NamedTuple):
    """Who recorded positions, and before the commit of which step."""

    attempt: int
    rank: int
    step: int

    def __str__(self) -> str:
        return f"rank {self.rank} of attempt {self.attempt} (step {self.step})"


@dataclass(frozen=True)
class Piece:
    """The positions [start, stop) of one epoch for which one commit stands, and their sharing."""

    epoch: int
    start: int
    stop: int
    attempt: int
    step: int
    ranks: int
    batch_size: int

    def share(self, rank: int) -> list[Progression]:
        """What the order gives a rank: its share of each micro-batch, the last one ragged."""
        width = self.batch_size * self.ranks
        full, rest = divmod(self.stop - self.start, width)
        entries: list[Progression] = []
        first, end = rank_share(width, rank=rank, ranks=self.ranks)
        if full:
            join(entries, Progression(self.start + first, end - first, width, full))
        first, end = rank_share(rest, rank=rank, ranks=self.ranks)
        if end > first:
            begin = self.start + full * width
            join(entries, Progression(begin + first, end - first, end - first, 1))
        return entries

    def owners(self, start: int, stop: int) -> Iterator[tuple[User, int, int]]:
        """Who takes the positions [start, stop) of this piece, range by range."""
        width = self.batch_size * self.ranks
        while start < stop:
            batch = start - (start - self.start) % width
            count = min(width, self.stop - batch)
            share = partial(rank_share, count, ranks=self.ranks)
            rank = bisect_right(
                range(self.ranks), start - batch, key=lambda rank: share(rank=rank)[1]
            )
            end = min(stop, batch + share(rank=rank)[1])
            yield User(self.attempt, rank, self.step), start, end
            start = end


Difference = tuple[User, list[Progression], list[Progression]]
"""Who, what the order gives it, what it recorded."""


class Coverage:
    """Collects where records and order differ, as progressions; `examine` takes them apart."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[Piece]] = defaultdict(list)
        self._differences: dict[int, list[Difference]] = defaultdict(list)

    def compare(self, piece: Piece, records: Iterable[tuple[int, list[Progression]]]) -> None:
        """What each rank recorded of a piece of the lineage against its share of it."""
        self._pieces[piece.epoch].append(piece)
        for rank, recorded in records:
            expected = piece.share(rank)
            if recorded != expected:
                user = User(piece.attempt, rank, piece.step)
                self._differences[piece.epoch].append((user, expected, recorded))

    def add_extra(self, user: User, epoch: int, recorded: list[Progression]) -> None:
        """Positions that a rank recorded where the order gives it none."""
        self._differences[epoch].append((user, [], recorded))

    def examine(self, most: int) -> tuple[list[str], set[int]]:
        """The faults, and the epochs that they are in.

        A line names all positions that the same ranks are concerned with. When `most` lines are
        found the epochs behind them are not taken apart any more, and count as faulty.
        """
        found: list[str] = []
        epochs: set[int] = set()
        for epoch in sorted(self._differences):
            if len(found) >= most:
                left = [each for each in sorted(self._differences) if each >= epoch]
                return [*found, f"epochs {_plain(left)}: records differ there too"], {
                    *epochs,
                    *left,
                }
            lines = _EpochFaults(self._pieces[epoch], self._differences[epoch]).lines()
            if lines:
                epochs.add(epoch)
            found += [f"epoch {epoch}: {line}" for line in lines]
        return found, epochs


class _EpochFaults:
    """One epoch, taken apart into ranges."""

    def __init__(self, pieces: list[Piece], differences: list[Difference]) -> None:
        self._pieces = pieces
        self._users = [user for user, _, _ in differences]
        self._missing: list[tuple[int, Ranges]] = []
        self._extra: list[tuple[int, Ranges]] = []
        self._said: list[str] = []
        ranges = 0
        for at, (user, expected, recorded) in enumerate(differences):
            ranges += sum(entry.times for entry in (*expected, *recorded))
            if ranges > MOST_RANGES:
                self._said.append(
                    f"{user} recorded other positions than the order gives it, in too many ranges "
                    "to name them"
                )
                continue
            self._take_apart(at, _ranges(expected), _ranges(recorded))

    def _take_apart(self, at: int, should: Ranges, did: Ranges) -> None:
        bounds = np.unique(np.concatenate([should, did]))
        times_should, times_did = _cover(bounds, should), _cover(bounds, did)
        missing = _segments(bounds, (times_should > 0) & (times_did == 0))
        over = times_did - np.minimum(times_should, 1)
        copies = min(int(over.max(initial=0)), MOST_COPIES)
        if len(missing):
            self._missing.append((at, missing))
        for copy in range(1, copies + 1):
            self._extra.append((at, _segments(bounds, over >= copy)))
        if not len(missing) and not copies:
            self._compare_sequence(at, _without_seams(should), _without_seams(did))

    def _compare_sequence(self, at: int, should: Ranges, did: Ranges) -> None:
        """The same positions, but perhaps not in the same order."""
        shorter = min(len(should), len(did))
        differs = np.flatnonzero((should[:shorter] != did[:shorter]).any(axis=1))
        if len(differs):
            first = slice(differs[0], differs[0] + 1)
            self._said.append(
                f"{self._users[at]} recorded positions {_listed(did[first].tolist())} where the "
                f"order gives it {_listed(should[first].tolist())}"
            )

    def lines(self) -> list[str]:
        if not self._missing and not self._extra:
            return self._said
        everything = np.concatenate([ranges for _, ranges in (*self._missing, *self._extra)])
        bounds = np.unique(everything)
        concerned = np.flatnonzero(_cover(bounds, everything) > 0)
        named = concerned[:NAMED_RANGES]
        end = int(bounds[named[-1] + 1])
        missing, extra = _in_front_of(end, self._missing), _in_front_of(end, self._extra)
        gaps: dict[tuple[int, int], list[tuple[User, int, int]]] = defaultdict(list)
        others: dict[tuple[str, tuple[User, ...]], list[tuple[int, int]]] = defaultdict(list)
        for at in named:
            start, stop = int(bounds[at]), int(bounds[at + 1])
            lacking, users = self._who(missing, start), self._who(extra, start)
            if lacking and not users:
                gaps[lacking[0].attempt, lacking[0].step].append((lacking[0], start, stop))
            elif lacking and len(users) == 1:
                others["wrong", (users[0], lacking[0])].append((start, stop))
            elif lacking:
                others["repeat", tuple(users)].append((start, stop))
            else:
                for owner, first, until in islice(self._owners(start, stop), NAMED_RANGES):
                    kind = "repeat" if owner else "stranger"
                    known = (owner, *users) if owner else tuple(users)
                    others[kind, known].append((first, until))
        lines = [*self._said, *map(_gap, gaps.values())]
        for (kind, users_of), positions in others.items():
            if kind == "repeat":
                lines.append(f"positions {_listed(positions)} were used {_times(users_of)}")
            else:
                lines.append(self._wrong(users_of, positions, kind == "stranger"))
        if len(concerned) > len(named):
            lines.append(f"{len(concerned) - len(named)} more ranges of positions are at fault")
        return lines

    def _who(self, records: list[tuple[int, Ranges]], position: int) -> list[User]:
        return [
            self._users[at]
            for at, ranges in records
            for _ in range(int(((ranges[:, 0] <= position) & (position < ranges[:, 1])).sum()))
        ]

    def _wrong(
        self, users: tuple[User, ...], positions: list[tuple[int, int]], stranger: bool
    ) -> str:
        said = f"{users[0]} recorded positions {_listed(positions)}"
        own = [ranges for at, ranges in self._missing if self._users[at] == users[0]]
        if own:
            return f"{said} where the order gives it {_listed(np.concatenate(own).tolist())}"
        if stranger:
            return f"{said}, which no commit of the lineage stands for"
        return f"{said}, which the order gives to {users[-1]}"

    def _owners(self, start: int, stop: int) -> Iterator[tuple[User | None, int, int]]:
        for piece in self._pieces:
            first, end = max(start, piece.start), min(stop, piece.stop)
            if first < end:
                if start < first:
                    yield None, start, first
                yield from piece.owners(first, end)
                start = end
        if start < stop:
            yield None, start, stop


def _ranges(entries: Iterable[Progression]) -> Ranges:
    found = [
        np.arange(each.times, dtype=np.int64)[:, None] * each.every
        + np.array([each.start, each.start + each.length], dtype=np.int64)
        for each in entries
    ]
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)


def _cover(bounds: Ranges, ranges: Ranges) -> Ranges:
    """How many of the ranges hold the positions from each bound to the next."""
    change = np.zeros(len(bounds), dtype=np.int64)
    np.add.at(change, np.searchsorted(bounds, ranges[:, 0]), 1)
    np.add.at(change, np.searchsorted(bounds, ranges[:, 1]), -1)
    return np.cumsum(change)


def _segments(bounds: Ranges, which: NDArray[np.bool_]) -> Ranges:
    at = np.flatnonzero(which)
    return _without_seams(np.stack([bounds[at], bounds[at + 1]], axis=1))


def _without_seams(ranges: Ranges) -> Ranges:
    """A range that begins where the one before ends is one with it."""
    if not len(ranges):
        return ranges
    begins = np.concatenate([[True], ranges[1:, 0] != ranges[:-1, 1]])
    ends = np.concatenate([begins[1:], [True]])
    return np.stack([ranges[begins, 0], ranges[ends, 1]], axis=1)


def _in_front_of(end: int, records: list[tuple[int, Ranges]]) -> list[tuple[int, Ranges]]:
    return [(at, ranges[ranges[:, 0] < end]) for at, ranges in records]


def _gap(who: list[tuple[User, int, int]]) -> str:
    ranks = sorted({user.rank for user, _, _ in who})
    several = f"ranks {_plain(ranks)}" if len(ranks) > 1 else f"rank {ranks[0]}"
    return (
        f"positions {_listed([(start, stop) for _, start, stop in who])} were used by nobody "
        f"({several} of attempt {who[0][0].attempt} should have, before step {who[0][0].step})"
    )


def _times(users: tuple[User, ...]) -> str:
    often = "twice" if len(users) == 2 else f"{len(users)} times"
    if len(set(users)) == 1:
        return f"{often}, each time by {users[0]}"
    return f"{often}: {', '.join(map(str, users[:-1]))} and {users[-1]}"


def _plain(numbers: list[int]) -> str:
    return _listed([(number, number + 1) for number in numbers])


def _listed(ranges: Sequence[Sequence[int]]) -> str:
    """`0-7, 16-23, 32 and 4 more ranges`."""
    joined = _without_seams(np.array(ranges, dtype=np.int64).reshape(-1, 2)).tolist()
    shown = [f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in joined[:3]]
    more = len(joined) - len(shown)
    return ", ".join(shown) + (f" and {more} more ranges" if more else "")
