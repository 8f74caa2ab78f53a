"""A small scan, and files made of its arrays with one thing changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ptycho_dist.data.formats import ScanData
from ptycho_dist.data.simulate import SimulationSpec, simulate


@pytest.fixture(scope="session")
def small_scan() -> ScanData:
    """40 patterns of 64 × 64 px."""
    return simulate(SimulationSpec(n_patterns=40, n_photons=1e4, seed=3))[0]


@pytest.fixture
def scan_file(small_scan: ScanData, tmp_path: Path) -> Callable[..., Path]:
    """Writes the scan as NAME.npz with arrays replaced, added, or left out (None)."""

    def write(name: str = "scan", *, compressed: bool = False, **changes: object) -> Path:
        arrays: dict[str, object] = {
            "diff3d": small_scan.diffraction_amp_MHW,
            "probeGuess": small_scan.probe_PHW[0],
            "xcoords": small_scan.x_px,
            "ycoords": small_scan.y_px,
        }
        arrays.update(changes)
        kept = {key: value for key, value in arrays.items() if value is not None}
        path = tmp_path / f"{name}.npz"
        (np.savez_compressed if compressed else np.savez)(path, **kept)
        return path

    return write
