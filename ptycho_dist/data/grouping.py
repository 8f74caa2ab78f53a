"""Choose which patterns are trained together: a group is a seed pattern and some neighbours.

`build_groups` draws gridsize² patterns that the network takes as one input. `build_blocks` takes a
patch of the scan whose patterns the network sees one by one and which share one canvas.

The functions are torch-free and pure, so every rank computes the same groups.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from ptycho_dist.errors import DataError

_SPARE_NEIGHBOURS = 8  # looked up beyond K, so that ties at the K-th distance are noticed
_QUANTUM_PX = 1e-3  # distances are compared in steps of this, so that rounding cannot break a tie
_SEEDS_STREAM, _MEMBERS_STREAM = 1, 2


def build_groups(
    x_px: np.ndarray,
    y_px: np.ndarray,
    *,
    gridsize: int,
    neighbor_count: int,
    n_groups: int | None,
    seed: int,
) -> np.ndarray:
    """Build groups of C = gridsize² patterns.

    Member 0 of a group is its seed pattern. The other C - 1 are drawn without replacement from the
    K = neighbor_count patterns nearest to the seed and are sorted by distance; equally near
    patterns are sorted by index. The draw for a seed pattern depends only on `seed` and the
    positions, not on `n_groups`.

    If n_groups is None, every pattern is a seed once, in scan order. Otherwise n_groups seeds are
    chosen without replacement and kept in scan order; a smaller choice is part of a larger one.

    Args:
        x_px: (M,) columns of the positions, px, finite.
        y_px: (M,) rows of the positions, px, finite.
        gridsize: 1 (each pattern alone) or more.
        neighbor_count: K, at least C; not used if gridsize is 1.
        n_groups: G, or None for all M.
        seed: 0 or more.

    Returns:
        (G, C) int64 pattern indices.

    Raises:
        DataError: The scan has fewer patterns than n_groups or than K + 1, neighbor_count is below
            C, or n_groups is below 1.
    """
    count, channels = x_px.size, gridsize**2
    seeds_G = _seeds(count, n_groups, seed)
    if channels == 1:
        return seeds_G[:, None].astype(np.int64)
    if neighbor_count < channels:
        raise DataError(
            f"neighbor_count is {neighbor_count}, but gridsize {gridsize} makes groups of "
            f"{channels}: set neighbor_count to {channels} or more"
        )
    if count <= neighbor_count:
        raise DataError(
            f"the scan has {count} patterns, but neighbor_count {neighbor_count} needs "
            f"{neighbor_count + 1}: lower neighbor_count or gridsize, or use a larger scan"
        )
    nearest_MK = _nearest(np.stack([x_px, y_px], axis=1), neighbor_count)
    lots_MK = np.random.default_rng([seed, _MEMBERS_STREAM]).random(nearest_MK.shape)
    drawn_GC = np.sort(np.argsort(lots_MK[seeds_G], axis=1)[:, : channels - 1], axis=1)
    members_GC = np.take_along_axis(nearest_MK[seeds_G], drawn_GC, axis=1)
    return np.concatenate([seeds_G[:, None], members_GC], axis=1).astype(np.int64)


def build_blocks(
    x_px: np.ndarray, y_px: np.ndarray, *, block_size: int, n_groups: int | None, seed: int
) -> np.ndarray:
    """Build blocks: each seed pattern with the K - 1 patterns nearest to it, sorted by distance.

    Args:
        x_px: (M,) columns of the positions, px, finite.
        y_px: (M,) rows of the positions, px, finite.
        block_size: K.
        n_groups: G, or None for all M; seeds are chosen as in `build_groups`.
        seed: 0 or more.

    Returns:
        (G, K) int64 pattern indices.

    Raises:
        DataError: The scan has fewer patterns than K or n_groups.
    """
    count = x_px.size
    seeds_G = _seeds(count, n_groups, seed)
    if count < block_size:
        raise DataError(
            f"the scan has {count} patterns, but block_size is {block_size}: lower it to {count} "
            "or less"
        )
    if block_size == 1:
        return seeds_G[:, None].astype(np.int64)
    nearest_MK = _nearest(np.stack([x_px, y_px], axis=1), block_size - 1)
    return np.concatenate([seeds_G[:, None], nearest_MK[seeds_G]], axis=1).astype(np.int64)


def _seeds(count: int, n_groups: int | None, seed: int) -> np.ndarray:
    if n_groups is None:
        return np.arange(count)
    if not 1 <= n_groups <= count:
        raise DataError(
            f"n_groups is {n_groups}, but the scan has {count} patterns: each pattern can be the "
            f"seed of one group, so n_groups must be between 1 and {count}"
        )
    generator = np.random.default_rng([seed, _SEEDS_STREAM])
    return np.sort(generator.permutation(count)[:n_groups])


def _nearest(xy_M2: np.ndarray, neighbours: int) -> np.ndarray:
    """Find the `neighbours` nearest other points of each point, (M, K), by distance, then index.

    A k-d tree returns equally distant points in arbitrary order. So each point asks for more than K
    neighbours until the farthest answer lies beyond the K-th, and ties are resolved here.
    """
    count = xy_M2.shape[0]
    tree = cKDTree(xy_M2)
    nearest_MK = np.empty((count, neighbours), dtype=np.int64)
    open_R = np.arange(count)
    asked = neighbours + 1 + _SPARE_NEIGHBOURS
    while open_R.size:
        asked = min(asked, count)
        distance_RQ, index_RQ = tree.query(xy_M2[open_R], k=asked)
        steps_RQ = np.rint(distance_RQ / _QUANTUM_PX)
        horizon_R = steps_RQ[:, -1].copy()  # the seed itself may be the last
        steps_RQ[index_RQ == open_R[:, None]] = np.inf
        order_RQ = np.lexsort((index_RQ, steps_RQ), axis=1)[:, :neighbours]
        last_R = np.take_along_axis(steps_RQ, order_RQ, axis=1)[:, -1]
        settled_R = (last_R < horizon_R) | (asked == count)
        nearest_RK = np.take_along_axis(index_RQ, order_RQ, axis=1)
        nearest_MK[open_R[settled_R]] = nearest_RK[settled_R]
        open_R = open_R[~settled_R]
        asked *= 2
    return nearest_MK
