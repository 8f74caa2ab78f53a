"""Open a scan file as the groups that a network is trained on or that it reconstructs."""

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

_SUBSAMPLE_STREAM = 3  # a random stream of its own, beside those of seeds and members of groups


def open_training_groups(
    path: Path, data: DataConfig, model: ModelConfig, nphotons: float | None = None
) -> GroupDataset:
    """Open a training file as groups, each on its own canvas.

    Args:
        path: The scan file.
        data: The config section that says how many patterns and groups to use, and which.
        model: The config section with N, gridsize, and whether labels are needed.
        nphotons: Photons to which the mean pattern is scaled; None keeps the file's brightness.

    Raises:
        DataError: The file breaks the data contract, its detector size is not `model.N`, or it
            lacks data that the config needs.
    """
    scan = _scan_to_learn_from(path, model, nphotons)
    scan = subsampled(scan, data.n_subsample, data.subsample_seed)
    return GroupDataset(scan, _coupled_groups(scan, data, model, data.n_groups))


def open_validation_groups(
    path: Path, data: DataConfig, model: ModelConfig, nphotons: float | None = None
) -> GroupDataset:
    """Open a test file as groups, one per pattern, or as just enough blocks to hold every pattern.

    Args:
        path: The scan file.
        data: The data section of the config.
        model: The model section of the config.
        nphotons: Photons to which the mean pattern is scaled; None keeps the file's brightness.

    Raises:
        DataError: See `open_training_groups`.
    """
    scan = _scan_to_learn_from(path, model, nphotons)
    blocks = None if data.block_size is None else -(-scan.n_patterns // data.block_size)
    return GroupDataset(scan, _coupled_groups(scan, data, model, blocks))


def whole_scan_groups(
    scan: ScanData, data: DataConfig, model: ModelConfig, n_groups: int | None
) -> GroupDataset:
    """Group a scan for reconstruction: gridsize² patterns per group, all on the scan's canvas."""
    return GroupDataset(scan, _groups(scan, data, model, n_groups), one_canvas=True)


def subsampled(scan: ScanData, count: int | None, seed: int) -> ScanData:
    """Draw `count` patterns of a scan without replacement, in scan order; None keeps all.

    A smaller choice is part of a larger one (DATA-046).

    Raises:
        DataError: The scan has fewer patterns.
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
    """Scale a scan so that its mean pattern holds `nphotons` photons (DATA-098).

    Amplitudes that are known to be sqrt(counts) are kept, and so are all if `nphotons` is None.
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
    """Read a scan file whose patterns must have `size` × `size` pixels.

    Raises:
        DataError: See `open_training_groups`.
    """
    scan = read_scan(path, with_labels)
    if size != scan.N:
        raise DataError(
            f"{path}: the patterns have {scan.N} × {scan.N} pixels, but model.N is {size}; "
            f"set model.N: {scan.N} or bin the patterns"
        )
    return scan


def _coupled_groups(
    scan: ScanData, data: DataConfig, model: ModelConfig, n_groups: int | None
) -> np.ndarray:
    """Build blocks if the config asks for them, else groups; (G, C)."""
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
