"""Simulated scans (section 6 of the data contract)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from ptycho_dist.data.formats import read_scan, write_scan
from ptycho_dist.data.simulate import (
    SimulationSpec,
    expected_counts,
    simulate,
    truth_path,
    write_truth,
)
from ptycho_dist.errors import UserError
from ptycho_dist.physics.forward import diffraction_amplitude

SMALL = SimulationSpec(n_patterns=12, step_px=5, jitter_px=0, n_photons=1e5, seed=2)


def patches_at(object_YX: np.ndarray, x_px: np.ndarray, y_px: np.ndarray) -> np.ndarray:
    """(M, 64, 64): windows cut by hand, for whole positions."""
    return np.stack(
        [
            object_YX[int(y) - 32 : int(y) + 32, int(x) - 32 : int(x) + 32]
            for x, y in zip(x_px, y_px, strict=True)
        ]
    )


def test_at_whole_positions_a_pattern_is_the_forward_model_of_its_window() -> None:
    """DATA-061: x is the column and y the row of the patch's pixel [N/2, N/2]."""
    scan, truth = simulate(SMALL)
    assert np.array_equal(scan.x_px, np.rint(scan.x_px))
    patches_MHW = patches_at(truth.object_YX, scan.x_px, scan.y_px)
    counts_MHW = expected_counts(truth.object_YX, truth.probe_PHW, scan.x_px, scan.y_px)
    predicted = diffraction_amplitude(
        torch.from_numpy(patches_MHW[:, None].astype(np.complex128)),
        torch.from_numpy(truth.probe_PHW.astype(np.complex128)),
    )
    np.testing.assert_allclose(predicted[:, 0] ** 2, counts_MHW, rtol=1e-6, atol=1e-6)
    # the measured counts scatter about it as Poisson's do: χ² over pixels of 5 counts or more
    bright = counts_MHW > 5
    measured = scan.diffraction_amp_MHW.astype(np.float64) ** 2
    chi2 = ((measured - counts_MHW)[bright] ** 2 / counts_MHW[bright]).mean()
    assert chi2 == pytest.approx(1, abs=5 * np.sqrt(2 / bright.sum()) + 0.05)


def test_moving_object_and_positions_together_changes_nothing() -> None:
    """DATA-061."""
    scan, truth = simulate(SMALL)
    still = expected_counts(truth.object_YX, truth.probe_PHW, scan.x_px, scan.y_px)
    padded_YX = np.pad(truth.object_YX, ((3, 4), (7, 2)))
    moved = expected_counts(padded_YX, truth.probe_PHW, scan.x_px + 7, scan.y_px + 3)
    np.testing.assert_allclose(moved, still, rtol=1e-9)
    swapped = expected_counts(padded_YX, truth.probe_PHW, scan.x_px + 3, scan.y_px + 7)
    assert np.abs(swapped - still).max() > 0.1 * still.max()


def test_fractions_of_a_pixel_are_exact_for_a_band_limited_object() -> None:
    """DATA-062: the field of plane waves is known between the pixels, so it can be moved exactly.

    Moving the probe by δ over O equals keeping it over O moved by -δ.
    """
    _, truth = simulate(SMALL)
    row, column = np.mgrid[:80, :80].astype(float)

    def field(dy: float, dx: float) -> np.ndarray:
        return (
            1
            + 0.5 * np.exp(1j * (0.31 * (row + dy) - 0.2 * (column + dx)))
            + 0.3 * np.exp(1j * 0.45 * (column + dx))
        )

    for dx, dy in ((0.3, 0.0), (0.0, -0.4), (0.25, 0.49)):
        moved = expected_counts(
            field(0, 0), truth.probe_PHW, np.array([40 + dx]), np.array([40 + dy])
        )
        still = expected_counts(field(dy, dx), truth.probe_PHW, np.array([40.0]), np.array([40.0]))
        np.testing.assert_allclose(moved, still, atol=1e-5 * still.max())
        wrong = expected_counts(
            field(-dy, -dx), truth.probe_PHW, np.array([40.0]), np.array([40.0])
        )
        assert np.abs(wrong - still).max() > 1e-3 * still.max()


def test_a_patch_beyond_the_object_is_a_value_error() -> None:
    _, truth = simulate(SMALL)
    rows, columns = truth.object_YX.shape
    for x, y in ((31, 40), (40, 31), (columns - 31, 40), (40, rows - 31)):
        with pytest.raises(ValueError, match="edge"):
            expected_counts(truth.object_YX, truth.probe_PHW, np.array([x]), np.array([y]))


@pytest.mark.parametrize("photons", [1e3, 1e6])
def test_photons_unit_and_probe_scale(photons: float) -> None:
    """DATA-063: amplitude² is a whole number of counts, as many on average as asked for."""
    scan, truth = simulate(SimulationSpec(n_patterns=16, n_photons=photons))
    counts = scan.diffraction_amp_MHW.astype(np.float64) ** 2
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-2)
    assert counts.sum(axis=(1, 2)).mean() == pytest.approx(photons, rel=5 / np.sqrt(16 * photons))
    expected = expected_counts(truth.object_YX, truth.probe_PHW, scan.x_px, scan.y_px)
    assert expected.sum(axis=(1, 2)).mean() == pytest.approx(photons, rel=1e-4)


def test_the_object_has_strong_phase_and_does_not_wrap() -> None:
    """DATA-064."""
    _, truth = simulate(SimulationSpec(n_patterns=100))
    amplitude, phase = np.abs(truth.object_YX), np.angle(truth.object_YX)
    assert amplitude.min() >= 0.4 - 1e-6
    assert amplitude.max() <= 1 + 1e-6
    assert 0.8 * np.pi <= np.ptp(phase) <= np.pi + 1e-5
    assert np.abs(np.diff(phase, axis=0)).max() > 0.3 * np.pi, "no sharp edge"
    assert np.median(np.abs(np.diff(phase, axis=0))) < 0.1 * np.pi, "no smooth texture"


def test_the_seed_decides_everything() -> None:
    """DATA-065."""
    spec = {"n_patterns": 9, "n_photons": 1e4}
    (one, truth), (same, _), (other, other_truth) = (
        simulate(SimulationSpec(**spec, seed=seed)) for seed in (4, 4, 5)
    )
    np.testing.assert_array_equal(one.diffraction_amp_MHW, same.diffraction_amp_MHW)
    np.testing.assert_array_equal(one.x_px, same.x_px)
    assert not np.array_equal(one.x_px, other.x_px)
    height, width = np.minimum(truth.object_YX.shape, other_truth.object_YX.shape)
    assert not np.array_equal(
        truth.object_YX[:height, :width], other_truth.object_YX[:height, :width]
    )


def test_scans_have_the_density_that_was_asked_for() -> None:
    """DATA-066."""
    raster, _ = simulate(SimulationSpec(n_patterns=30, step_px=4, jitter_px=0))
    assert np.ptp(raster.x_px) == 5 * 4
    assert np.ptp(raster.y_px) == 4 * 4
    jittered, _ = simulate(SimulationSpec(n_patterns=30, step_px=4, jitter_px=1.5))
    off_x = (jittered.x_px - jittered.x_px[0]) - (raster.x_px - raster.x_px[0])
    assert 0.5 < np.abs(off_x).max() <= 3
    spiral, _ = simulate(SimulationSpec(n_patterns=400, scan="spiral", step_px=3, jitter_px=0))
    radius = np.hypot(spiral.x_px - spiral.x_px[0], spiral.y_px - spiral.y_px[0]).max()
    assert np.pi * radius**2 == pytest.approx(400 * 3**2, rel=0.15)
    xy = np.stack([spiral.x_px, spiral.y_px], axis=1)
    assert cKDTree(xy).query(xy, k=2)[0][:, 1].min() > 1.5


def test_the_truth_is_a_file_of_its_own(tmp_path: Path) -> None:
    """DATA-060: the scan file holds nothing of the object."""
    scan, truth = simulate(SMALL)
    path = tmp_path / "scan.v2.npz"
    assert truth_path(path) == tmp_path / "scan.v2.truth.npz"
    write_scan(path, scan, {})
    write_truth(truth_path(path), truth, scan)
    assert not any("object" in key for key in np.load(path))
    with np.load(truth_path(path), allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["object_YX"], truth.object_YX)
        np.testing.assert_array_equal(stored["x_px"], read_scan(path).x_px)
        assert json.loads(str(stored["spec"]))["seed"] == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("N", 63),
        ("N", 8),
        ("n_patterns", 0),
        ("scan", "grid"),
        ("step_px", 0.0),
        ("step_px", float("nan")),
        ("jitter_px", -1.0),
        ("n_photons", 0.0),
        ("n_photons", float("inf")),
        ("seed", -1),
    ],
)
def test_a_spec_outside_its_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^{name} is {value}, but must be"):
        SimulationSpec(**{name: value})
