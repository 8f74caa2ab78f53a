"""Groups (section 4 of the data contract)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptycho_dist.data.grouping import build_blocks, build_groups
from ptycho_dist.errors import DataError


@st.composite
def scans(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Positions: scattered, on a raster (many ties), or all in a few places."""
    count = draw(st.integers(20, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(["scattered", "raster", "coincident"]))
    if kind == "scattered":
        return generator.uniform(0, 100, count), generator.uniform(0, 100, count)
    if kind == "raster":
        return 0.1 * (np.arange(count) % 7), 0.1 * (np.arange(count) // 7)
    return generator.integers(0, 2, count) * 1.0, generator.integers(0, 2, count) * 1.0


def nearest_by_hand(x_px: np.ndarray, y_px: np.ndarray, seed: int, count: int) -> list[int]:
    """All others by distance (to a thousandth of a pixel), then by index, without a tree."""
    distance = np.rint(np.hypot(x_px - x_px[seed], y_px - y_px[seed]) * 1000)
    ranked = sorted((distance[i], i) for i in range(x_px.size) if i != seed)
    return [i for _, i in ranked[:count]]


@settings(max_examples=60)
@given(scans(), st.sampled_from([2, 3]), st.integers(9, 12), st.integers(0, 1000))
def test_members_are_the_seed_and_others_of_its_nearest(
    scan: tuple[np.ndarray, np.ndarray], gridsize: int, neighbor_count: int, seed: int
) -> None:
    """DATA-041, DATA-042: seed first, no pattern twice, neighbours in order of distance."""
    x_px, y_px = scan
    groups = build_groups(
        x_px, y_px, gridsize=gridsize, neighbor_count=neighbor_count, n_groups=None, seed=seed
    )
    assert groups.shape == (x_px.size, gridsize**2)
    assert groups.dtype == np.int64
    np.testing.assert_array_equal(groups[:, 0], np.arange(x_px.size))
    for group in groups.tolist():
        near = nearest_by_hand(x_px, y_px, group[0], neighbor_count)
        ranks = [near.index(member) for member in group[1:]]  # ValueError: not a neighbour
        assert ranks == sorted(set(ranks))


@settings(max_examples=30)
@given(scans(), st.integers(1, 20), st.integers(0, 1000), st.sampled_from([1, 2]))
def test_a_subset_of_seeds(
    scan: tuple[np.ndarray, np.ndarray], n_groups: int, seed: int, gridsize: int
) -> None:
    """DATA-040, DATA-043, DATA-044: in scan order, and part of every larger choice."""
    x_px, y_px = scan

    def groups(count: int | None) -> list[tuple[int, ...]]:
        array = build_groups(
            x_px, y_px, gridsize=gridsize, neighbor_count=6, n_groups=count, seed=seed
        )
        return [tuple(row) for row in array.tolist()]

    chosen = groups(n_groups)
    seeds = [group[0] for group in chosen]
    assert len(chosen) == n_groups
    assert seeds == sorted(set(seeds))
    assert chosen == groups(n_groups)
    assert set(chosen) <= set(groups(x_px.size)) == set(groups(None))
    assert set(chosen) <= set(groups(min(n_groups + 3, x_px.size)))


def test_many_patterns_in_one_place() -> None:
    """DATA-042: more ties than were asked for, so the tree alone would choose at its whim."""
    groups = build_groups(
        np.zeros(60), np.zeros(60), gridsize=2, neighbor_count=4, n_groups=None, seed=0
    )
    for group in groups.tolist():
        others = [index for index in range(6) if index != group[0]][:4]
        assert set(group[1:]) <= set(others)


def test_the_seed_decides_and_draws_are_even() -> None:
    """DATA-042: every one of the K neighbours is drawn about equally often."""
    generator = np.random.default_rng(5)
    x_px, y_px = generator.uniform(0, 100, (2, 2000))
    arguments = {"gridsize": 2, "neighbor_count": 6, "n_groups": None}
    one, other = (build_groups(x_px, y_px, **arguments, seed=seed) for seed in (1, 2))
    assert (one[:, 1:] != other[:, 1:]).any()
    ranks = np.zeros(6)
    for group in one[:300].tolist():
        near = nearest_by_hand(x_px, y_px, group[0], 6)
        for member in group[1:]:
            ranks[near.index(member)] += 1
    assert ranks.sum() == 900
    assert np.all(np.abs(ranks / 150 - 1) < 0.3)


def test_the_choice_of_seeds_depends_on_the_seed() -> None:
    """DATA-043."""
    x_px = np.arange(100.0)
    first, second = (
        build_groups(x_px, 0 * x_px, gridsize=1, neighbor_count=1, n_groups=50, seed=seed)
        for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_gridsize_one_is_each_pattern_alone() -> None:
    """DATA-041: neighbours are not asked for, so one pattern is enough."""
    groups = build_groups(
        np.zeros(1), np.zeros(1), gridsize=1, neighbor_count=7, n_groups=None, seed=0
    )
    np.testing.assert_array_equal(groups, [[0]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_groups": 11}, "n_groups is 11, but the scan has 10 patterns"),
        ({"n_groups": 0}, "n_groups is 0"),
        ({"neighbor_count": 3}, "neighbor_count is 3, but gridsize 2 makes groups of 4"),
        ({"neighbor_count": 10}, "the scan has 10 patterns, but neighbor_count 10 needs 11"),
    ],
)
def test_what_cannot_be_grouped_is_refused(changes: dict[str, int], message: str) -> None:
    """DATA-045."""
    arguments = {"gridsize": 2, "neighbor_count": 5, "n_groups": None, "seed": 0, **changes}
    with pytest.raises(DataError, match=message):
        build_groups(np.arange(10.0), np.zeros(10), **arguments)  # type: ignore[arg-type]


@settings(max_examples=60)
@given(scans(), st.integers(1, 20), st.integers(0, 1000))
def test_a_block_is_a_seed_and_the_nearest_by_distance(
    scan: tuple[np.ndarray, np.ndarray], block_size: int, seed: int
) -> None:
    """REC-012: among equally near ones the lower index; nothing is drawn."""
    x_px, y_px = scan
    blocks = build_blocks(x_px, y_px, block_size=block_size, n_groups=None, seed=seed)
    assert blocks.shape == (x_px.size, block_size)
    assert blocks.dtype == np.int64
    for first, block in enumerate(blocks.tolist()):
        assert block == [first, *nearest_by_hand(x_px, y_px, first, block_size - 1)]


def test_the_whole_scan_may_be_one_block() -> None:
    """REC-012"""
    blocks = build_blocks(np.arange(5.0), np.zeros(5), block_size=5, n_groups=None, seed=0)
    assert [sorted(block) for block in blocks.tolist()] == 5 * [[0, 1, 2, 3, 4]]
    assert blocks[4].tolist() == [4, 3, 2, 1, 0]


def test_seeds_of_blocks_are_those_of_groups() -> None:
    """REC-012, DATA-043: and a smaller choice is part of a larger one."""
    x_px, y_px = np.random.default_rng(2).uniform(0, 50, (2, 40))
    few, more = (
        build_blocks(x_px, y_px, block_size=4, n_groups=count, seed=9) for count in (6, 11)
    )
    groups = build_groups(x_px, y_px, gridsize=2, neighbor_count=7, n_groups=6, seed=9)
    np.testing.assert_array_equal(few[:, 0], groups[:, 0])
    assert {tuple(block) for block in few} <= {tuple(block) for block in more}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_size": 11}, "the scan has 10 patterns, but block_size is 11: lower it to 10"),
        ({"n_groups": 11}, "n_groups is 11, but the scan has 10 patterns"),
    ],
)
def test_blocks_that_cannot_be_made_are_refused(changes: dict[str, int], message: str) -> None:
    """REC-012, DATA-045"""
    arguments = {"block_size": 5, "n_groups": None, "seed": 0, **changes}
    with pytest.raises(DataError, match=message):
        build_blocks(np.arange(10.0), np.zeros(10), **arguments)  # type: ignore[arg-type]
