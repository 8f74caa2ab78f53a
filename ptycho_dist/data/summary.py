"""Figures and warnings about a scan that a person wants before training on it. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ptycho_dist.data.formats import ScanData

_TRAINABLE_N = (64, 128, 256)
_LEAST_OVERLAP = 0.5
_LEAST_PHOTONS = 1e3
_LEAST_ENERGY_INSIDE = 0.9


@dataclass(frozen=True)
class ScanSummary:
    """Figures of a scan.

    Attributes:
        n_patterns: Number M of patterns.
        N: Rows and columns of a pattern in pixels.
        probe_modes: Number P of probe modes.
        unit: How the amplitude unit is known.
        mean_counts: Mean of ΣA² per pattern; photons if the unit is counts.
        max_counts: A² of the brightest pixel.
        scan_span_px: Width and height of the scan.
        neighbour_distance_px: Median distance to the nearest other position; None for one pattern.
        probe_diameter_px: Diameter of a disc with the probe's area (ΣI)²/ΣI², where I is summed
            over the modes.
        overlap: Linear overlap, 1 - neighbour distance / probe diameter; None for one pattern.
        warnings: Warnings of one sentence each.
    """

    n_patterns: int
    N: int
    probe_modes: int
    unit: str
    mean_counts: float
    max_counts: float
    scan_span_px: tuple[float, float]
    neighbour_distance_px: float | None
    probe_diameter_px: float
    overlap: float | None
    warnings: tuple[str, ...]


def summarise(scan: ScanData) -> ScanSummary:
    """Compute the figures of a scan and the warnings that follow from them."""
    totals_M = np.array(
        [np.sum(amp_HW.astype(np.float64) ** 2) for amp_HW in scan.diffraction_amp_MHW]
    )
    intensity_HW = (np.abs(scan.probe_PHW.astype(np.complex128)) ** 2).sum(axis=0)
    area_px = intensity_HW.sum() ** 2 / (intensity_HW**2).sum()
    diameter_px = float(2 * np.sqrt(area_px / np.pi))
    distances_M: np.ndarray | None = None
    if scan.n_patterns > 1:
        xy_M2 = np.stack([scan.x_px, scan.y_px], axis=1)
        distances_M = cKDTree(xy_M2).query(xy_M2, k=2)[0][:, 1]
    distance_px = None if distances_M is None else float(np.median(distances_M))
    overlap = None if distance_px is None else 1 - distance_px / diameter_px
    quarter = scan.N // 4
    inside = intensity_HW[quarter:-quarter, quarter:-quarter].sum() / intensity_HW.sum()
    dark = int(np.count_nonzero(totals_M == 0))
    repeated = 0 if distances_M is None else int(np.count_nonzero(distances_M == 0))
    concerns = {
        "the amplitude unit is unverified: no diffraction_unit tag, and the squares of the values "
        "are not whole numbers": scan.unit == "unverified",
        f"patterns of {scan.N} px cannot be used for training: N must be 64, 128 or 256": (
            scan.N not in _TRAINABLE_N
        ),
        f"patterns without any counts: {dark}; remove them": dark > 0,
        f"positions that coincide with another position: {repeated}": repeated > 0,
        f"the overlap is {overlap or 0:.0%}, below {_LEAST_OVERLAP:.0%}: neighbours share little": (
            overlap is not None and overlap < _LEAST_OVERLAP
        ),
        f"patterns hold {totals_M.mean():.3g} counts on average, below {_LEAST_PHOTONS:.0f}: noise "
        "will dominate": totals_M.mean() < _LEAST_PHOTONS,
        f"only {inside:.0%} of the probe's energy lies in the central N/2 × N/2 pixels, which the "
        "network resolves best": inside < _LEAST_ENERGY_INSIDE,
    }
    return ScanSummary(
        n_patterns=scan.n_patterns,
        N=scan.N,
        probe_modes=int(scan.probe_PHW.shape[0]),
        unit=scan.unit,
        mean_counts=float(totals_M.mean()),
        max_counts=float(scan.diffraction_amp_MHW.max()) ** 2,
        scan_span_px=(float(np.ptp(scan.x_px)), float(np.ptp(scan.y_px))),
        neighbour_distance_px=distance_px,
        probe_diameter_px=diameter_px,
        overlap=overlap,
        warnings=tuple(sentence for sentence, holds in concerns.items() if holds),
    )
