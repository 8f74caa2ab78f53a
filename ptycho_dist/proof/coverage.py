"""Compares the positions that ranks recorded with those that the sample order gives them.

Positions that no rank recorded, or more than one, are named. Equal progressions need no look at
their ranges; arrays of ranges are made only for those that differ.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np

from ptycho_dist.data.order import rank_share
from ptycho_dist.proof.ranges import (
    Ranges,
    cover,
    listed,
    listed_numbers,
    ranges_of,
    segments,
    without_seams,
)
from ptycho_dist.rundir.consumed import Progression, join

MOST_RANGES = 20_000_000
"""Largest number of ranges of one epoch that are compared, over all ranks whose records differ."""
NAMED_RANGES = 500
"""Largest number of ranges of one epoch that are named; the others are counted."""
MOST_COPIES = 3
"""Largest number of repeats of one range by one rank that are counted."""


class User(NamedTuple):
    """A rank that recorded positions, and the step of the commit that followed."""

    attempt: int
    rank: int
    step: int

    def __str__(self) -> str:
        return f"rank {self.rank} of attempt {self.attempt} (step {self.step})"


@dataclass(frozen=True)
class Piece:
    """The positions [start, stop) of one epoch that one commit covers, and how ranks share them."""

    epoch: int
    start: int
    stop: int
    attempt: int
    step: int
    ranks: int
    batch_size: int

    def share(self, rank: int) -> list[Progression]:
        """What the sample order gives a rank: its share of each micro-batch.

        The last micro-batch may be smaller than the others.
        """
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
        """The ranks to which the order gives the positions [start, stop), range by range."""
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
"""A rank, what the order gives it, and what it recorded."""


class Coverage:
    """Collects, as progressions, where records and order differ; `examine` names the positions."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[Piece]] = defaultdict(list)
        self._differences: dict[int, list[Difference]] = defaultdict(list)

    def compare(self, piece: Piece, records: Iterable[tuple[int, list[Progression]]]) -> None:
        """Compare what each rank recorded of a piece of the lineage with its share of it."""
        self._pieces[piece.epoch].append(piece)
        for rank, recorded in records:
            expected = piece.share(rank)
            if recorded != expected:
                user = User(piece.attempt, rank, piece.step)
                self._differences[piece.epoch].append((user, expected, recorded))

    def add_extra(self, user: User, epoch: int, recorded: list[Progression]) -> None:
        """Add positions that a rank recorded although the order gives it none there."""
        self._differences[epoch].append((user, [], recorded))

    def examine(self, most: int) -> tuple[list[str], set[int]]:
        """Name the faults that were collected.

        Args:
            most: number of faults after which the remaining epochs are not examined, and count as
                faulty.

        Returns:
            The faults, each with all positions of the same ranks, and the epochs they are in.
        """
        found: list[str] = []
        epochs: set[int] = set()
        for epoch in sorted(self._differences):
            if len(found) >= most:
                left = [each for each in sorted(self._differences) if each >= epoch]
                rest = f"epochs {listed_numbers(left)}: records differ there too"
                return [*found, rest], {*epochs, *left}
            lines = _EpochFaults(self._pieces[epoch], self._differences[epoch]).lines()
            if lines:
                epochs.add(epoch)
            found += [f"epoch {epoch}: {line}" for line in lines]
        return found, epochs


class _EpochFaults:
    """The faults of one epoch, range by range."""

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
            self._take_apart(at, ranges_of(expected), ranges_of(recorded))

    def _take_apart(self, at: int, should: Ranges, did: Ranges) -> None:
        bounds = np.unique(np.concatenate([should, did]))
        times_should, times_did = cover(bounds, should), cover(bounds, did)
        missing = segments(bounds, (times_should > 0) & (times_did == 0))
        over = times_did - np.minimum(times_should, 1)
        copies = min(int(over.max(initial=0)), MOST_COPIES)
        if len(missing):
            self._missing.append((at, missing))
        for copy in range(1, copies + 1):
            self._extra.append((at, segments(bounds, over >= copy)))
        if not len(missing) and not copies:
            self._compare_sequence(at, without_seams(should), without_seams(did))

    def _compare_sequence(self, at: int, should: Ranges, did: Ranges) -> None:
        """Compare the order of the positions, which are the same."""
        shorter = min(len(should), len(did))
        differs = np.flatnonzero((should[:shorter] != did[:shorter]).any(axis=1))
        if len(differs):
            first = slice(differs[0], differs[0] + 1)
            self._said.append(
                f"{self._users[at]} recorded positions {listed(did[first].tolist())} where the "
                f"order gives it {listed(should[first].tolist())}"
            )

    def lines(self) -> list[str]:
        if not self._missing and not self._extra:
            return self._said
        everything = np.concatenate([ranges for _, ranges in (*self._missing, *self._extra)])
        bounds = np.unique(everything)
        concerned = np.flatnonzero(cover(bounds, everything) > 0)
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
                lines.append(f"positions {listed(positions)} were used {_times(users_of)}")
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
        said = f"{users[0]} recorded positions {listed(positions)}"
        own = [ranges for at, ranges in self._missing if self._users[at] == users[0]]
        if own:
            return f"{said} where the order gives it {listed(np.concatenate(own).tolist())}"
        if stranger:
            return f"{said}, which belong to no commit of the lineage"
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


def _in_front_of(end: int, records: list[tuple[int, Ranges]]) -> list[tuple[int, Ranges]]:
    return [(at, ranges[ranges[:, 0] < end]) for at, ranges in records]


def _gap(who: list[tuple[User, int, int]]) -> str:
    ranks = sorted({user.rank for user, _, _ in who})
    several = f"ranks {listed_numbers(ranks)}" if len(ranks) > 1 else f"rank {ranks[0]}"
    return (
        f"positions {listed([(start, stop) for _, start, stop in who])} were not used by any rank "
        f"({several} of attempt {who[0][0].attempt} should have, before step {who[0][0].step})"
    )


def _times(users: tuple[User, ...]) -> str:
    often = "twice" if len(users) == 2 else f"{len(users)} times"
    if len(set(users)) == 1:
        return f"{often}, each time by {users[0]}"
    return f"{often}: {', '.join(map(str, users[:-1]))} and {users[-1]}"
