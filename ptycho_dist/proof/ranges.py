"""Half-open ranges of sample positions as arrays: counting, joining and naming them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ptycho_dist.rundir.consumed import Progression

Ranges = NDArray[np.int64]
"""Half-open ranges [start, stop), of shape (n, 2)."""


def ranges_of(entries: Iterable[Progression]) -> Ranges:
    """All ranges of some progressions, in their order."""
    found = [
        np.arange(each.times, dtype=np.int64)[:, None] * each.every
        + np.array([each.start, each.start + each.length], dtype=np.int64)
        for each in entries
    ]
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)


def cover(bounds: NDArray[np.int64], ranges: Ranges) -> NDArray[np.int64]:
    """Count the ranges that contain the positions from each bound to the next.

    Args:
        bounds: ascending positions, shape (m,).
        ranges: ranges that start and stop at bounds.

    Returns:
        The counts, shape (m,); the last one is 0.
    """
    change = np.zeros(len(bounds), dtype=np.int64)
    np.add.at(change, np.searchsorted(bounds, ranges[:, 0]), 1)
    np.add.at(change, np.searchsorted(bounds, ranges[:, 1]), -1)
    return np.cumsum(change)


def segments(bounds: NDArray[np.int64], which: NDArray[np.bool_]) -> Ranges:
    """The ranges from each chosen bound to the next one, joined where they touch."""
    at = np.flatnonzero(which)
    return without_seams(np.stack([bounds[at], bounds[at + 1]], axis=1))


def without_seams(ranges: Ranges) -> Ranges:
    """Join each range to the one before it if it starts where that one stops."""
    if not len(ranges):
        return ranges
    begins = np.concatenate([[True], ranges[1:, 0] != ranges[:-1, 1]])
    ends = np.concatenate([begins[1:], [True]])
    return np.stack([ranges[begins, 0], ranges[ends, 1]], axis=1)


def listed_numbers(numbers: Iterable[int]) -> str:
    """`0-3, 7`: ascending numbers in words."""
    return listed([(number, number + 1) for number in numbers])


def listed(ranges: Sequence[Sequence[int]]) -> str:
    """`0-7, 16-23, 32 and 4 more ranges`: ascending ranges in words, both ends included."""
    joined = without_seams(np.array(ranges, dtype=np.int64).reshape(-1, 2)).tolist()
    shown = [f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in joined[:3]]
    more = len(joined) - len(shown)
    return ", ".join(shown) + (f" and {more} more ranges" if more else "")
