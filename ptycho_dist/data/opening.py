"""From a scan file to the groups that a network is trained on, or that it reconstructs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ptycho_dist.config.data import DataConfig
from ptycho_dist.config.model import ModelConfig
from ptycho_dist.data.formats import ScanData, read_scan
from ptycho_dist.data.grouping import build_blocks, build_groups
from ptycho_dist.data.store import GroupDataset
from ptycho_dist.errors import DataError


def open_training_groups(path: Path, data: DataConfig, model: ModelConfig) -> GroupDataset:
    """The groups of a training file, each on a canvas of its own.

    Raises:
        DataError: the file is not what the data contract promises, or has another detector size
            than `model.N`.
    """
    scan = read_scan_of_size(path, model.N)
    return GroupDataset(scan, _coupled_groups(scan, data, model, data.n_groups))


def open_validation_groups(path: Path, data: DataConfig, model: ModelConfig) -> GroupDataset:
    """The groups of a test file: each pattern seeds one; of blocks, so many as hold them all once.

    Raises as `open_training_groups`.
    """
    scan = read_scan_of_size(path, model.N)
    blocks = None if data.block_size is None else -(-scan.n_patterns // data.block_size)
    return GroupDataset(scan, _coupled_groups(scan, data, model, blocks))


def whole_scan_groups(
    scan: ScanData, data: DataConfig, model: ModelConfig, n_groups: int | None
) -> GroupDataset:
    """The groups of gridsize² patterns that a network takes together, all on one canvas."""
    return GroupDataset(scan, _groups(scan, data, model, n_groups), one_canvas=True)


def read_scan_of_size(path: Path, size: int) -> ScanData:
    """A scan file with patterns of `size` × `size`; raises as `open_training_groups`."""
    scan = read_scan(path)
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
