"""From a scan file to the groups that a network is trained on, or that it reconstructs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ptycho_dist.config.contradictions import needless_nphotons
from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.data.formats import ScanData, read_scan
from ptycho_dist.data.grouping import build_blocks, build_groups
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.errors import DataError

_SUBSAMPLE_STREAM = 3  # apart from the draws of groups and members


def open_training_groups(
    path: Path, data: DataConfig, model: ModelConfig, nphotons: float | None = None
) -> GroupDataset:
    """The groups of a training file, each on a canvas of its own.

    Args:
        path: the scan file.
        data: how many patterns and groups, and which.
        model: N, gridsize, and whether labels are needed.
        nphotons: what a mean pattern is scaled to; None: the file's own brightness.

    Raises:
        DataError: the file is not what the data contract promises, has another detector size
            than `model.N`, or lacks what the config asks for.
    """
    scan = _scan_to_learn_from(path, model, nphotons)
    scan = subsampled(scan, data.n_subsample, data.subsample_seed)
    return GroupDataset(scan, _coupled_groups(scan, data, model, data.n_groups))


def open_validation_groups(
    path: Path, data: DataConfig, model: ModelConfig, nphotons: float | None = None
) -> GroupDataset:
    """The groups of a test file: each pattern seeds one; of blocks, so many as hold them all once.

    Raises as `open_training_groups`.
    """
    scan = _scan_to_learn_from(path, model, nphotons)
    blocks = None if data.block_size is None else -(-scan.n_patterns // data.block_size)
    return GroupDataset(scan, _coupled_groups(scan, data, model, blocks))


def whole_scan_groups(
    scan: ScanData, data: DataConfig, model: ModelConfig, n_groups: int | None
) -> GroupDataset:
    """The groups of gridsize² patterns that a network takes together, all on one canvas."""
    return GroupDataset(scan, _groups(scan, data, model, n_groups), one_canvas=True)


def subsampled(scan: ScanData, count: int | None, seed: int) -> ScanData:
    """`count` patterns of a scan, drawn evenly without replacement, in scan order; None: all.

    A smaller choice is part of a larger one (DATA-046).

    Raises:
        DataError: there are fewer.
    """
    if count is None:
        return scan
    if count > scan.n_patterns:
        raise DataError(
            f"n_subsample: {count} patterns, but the file holds {scan.n_patterns}; lower it"
        )
    drawn = np.random.default_rng([seed, _SUBSAMPLE_STREAM]).permutation(scan.n_patterns)
    chosen = np.sort(drawn[:count])
    return dataclasses.replace(
        scan,
        diffraction_amp_MHW=scan.diffraction_amp_MHW[chosen],
        x_px=scan.x_px[chosen],
        y_px=scan.y_px[chosen],
        label_MHW=None if scan.label_MHW is None else scan.label_MHW[chosen],
    )


def of_brightness(scan: ScanData, nphotons: float | None) -> ScanData:
    """A scan whose mean pattern holds `nphotons` (DATA-098).

    Amplitudes that are known to be sqrt(counts) stay, as they do where `nphotons` is None.
    """
    if nphotons is None or scan.unit != "unverified":
        return scan
    amp_MHW = scan.diffraction_amp_MHW
    mean_total = np.mean([np.sum(amp_HW.astype(np.float64) ** 2) for amp_HW in amp_MHW])
    factor = np.float32(np.sqrt(nphotons / mean_total))
    return dataclasses.replace(scan, diffraction_amp_MHW=amp_MHW * factor)


def _scan_to_learn_from(path: Path, model: ModelConfig, nphotons: float | None) -> ScanData:
    scan = read_scan_of_size(path, model.N, with_labels=model.model_type == "supervised")
    if nphotons is not None and scan.unit != "unverified":
        raise DataError(f"training.nphotons: {needless_nphotons(nphotons, path)}")
    return of_brightness(scan, nphotons)


def read_scan_of_size(path: Path, size: int, with_labels: bool = False) -> ScanData:
    """A scan file with patterns of `size` × `size`; raises as `open_training_groups`."""
    scan = read_scan(path, with_labels)
    if size != scan.N:
        raise DataError(
            f"{path}: patterns of {scan.N} × {scan.N} pixels, model.N is {size}; "
            f"set model.N: {scan.N} or bin the patterns"
        )
    return scan


def _coupled_groups(
    scan: ScanData, data: DataConfig, model: ModelConfig, n_groups: int | None
) -> np.ndarray:
    """(G, C): blocks where the config asks for them."""
    if data.block_size is None:
        return _groups(scan, data, model, n_groups)
    return build_blocks(
        scan.x_px,
        scan.y_px,
        block_size=data.block_size,
        n_groups=n_groups,
        seed=data.subsample_seed,
    )


def _groups(
    scan: ScanData, data: DataConfig, model: ModelConfig, n_groups: int | None
) -> np.ndarray:
    return build_groups(
        scan.x_px,
        scan.y_px,
        gridsize=model.gridsize,
        neighbor_count=data.neighbor_count,
        n_groups=n_groups,
        seed=data.subsample_seed,
    )
