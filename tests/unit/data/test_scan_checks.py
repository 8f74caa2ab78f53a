"""Unit and centring of the patterns, and their values (section 2 of the data contract)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptycho_dist.data.checks import established_unit, require_centred
from ptycho_dist.data.formats import ScanData, read_scan
from ptycho_dist.data.simulate import SimulationSpec, simulate
from ptycho_dist.errors import DataError

ScanFile = Callable[..., Path]


def tagged(unit: str) -> np.ndarray:
    return np.array(json.dumps({"diffraction_unit": unit}), dtype=np.str_)


def test_square_roots_of_counts_are_recognised(scan_file: ScanFile) -> None:
    """DATA-021."""
    assert read_scan(scan_file()).unit == "counts"


def test_a_tag_is_believed(scan_file: ScanFile, small_scan: ScanData) -> None:
    """DATA-020: amplitudes need not be roots of whole numbers, when tagged."""
    scaled = small_scan.diffraction_amp_MHW * np.float32(0.3)
    assert read_scan(scan_file(diff3d=scaled, _metadata=tagged("amplitude"))).unit == "tagged"
    assert read_scan(scan_file(diff3d=scaled)).unit == "unverified"


@pytest.mark.parametrize("unit", ["intensity", "counts", "photons"])
def test_another_tag_is_refused(scan_file: ScanFile, unit: str) -> None:
    """DATA-020."""
    with pytest.raises(DataError, match=rf'diff3d is tagged "{unit}".*sqrt'):
        read_scan(scan_file(_metadata=tagged(unit)))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint16", "int32"])
@pytest.mark.parametrize("photons", [1e3, 1e5, 1e9])
def test_counts_in_place_of_amplitudes_are_refused(
    scan_file: ScanFile, dtype: str, photons: float
) -> None:
    """DATA-022: with or without a tag that says otherwise."""
    scan, _ = simulate(SimulationSpec(n_patterns=40, n_photons=photons))
    counts = np.rint(scan.diffraction_amp_MHW.astype(np.float64) ** 2)
    if dtype == "uint16":
        counts = np.minimum(counts, 65535)
    for extra in ({}, {"_metadata": tagged("amplitude")}):
        with pytest.raises(DataError, match="holds counts"):
            read_scan(scan_file(diff3d=counts.astype(dtype), **extra))


@settings(max_examples=50)
@given(st.floats(0.05, 3e5), st.integers(0, 2**31))
def test_roots_of_poisson_counts_pass_and_the_counts_do_not(mean: float, seed: int) -> None:
    """DATA-021, DATA-022: at any brightness, in float32."""
    counts = np.random.default_rng(seed).poisson(mean, (2, 32, 32))
    assert established_unit(np.sqrt(counts).astype(np.float32), None, "x") == "counts" or (
        counts.max() < 2
    )
    if counts.max() >= 2:
        squared_back = np.sqrt(counts).astype(np.float32) ** 2  # off by roundings
        for intensities in (counts.astype(np.float32), squared_back):
            with pytest.raises(DataError, match="holds counts"):
                established_unit(intensities, None, "x")


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
def test_arbitrary_values_are_unverified(seed: int, scale: float) -> None:
    values = np.random.default_rng(seed).uniform(0, scale, (2, 32, 32)).astype(np.float32)
    assert established_unit(values, None, "x") == "unverified"


def test_dark_leading_patterns_decide_nothing(scan_file: ScanFile, small_scan: ScanData) -> None:
    amp_MHW = small_scan.diffraction_amp_MHW.copy()
    amp_MHW[:32] = 0
    assert read_scan(scan_file(diff3d=amp_MHW)).unit == "unverified"


def test_patterns_in_fft_order_are_refused(scan_file: ScanFile, small_scan: ScanData) -> None:
    """DATA-023."""
    shifted = np.fft.ifftshift(small_scan.diffraction_amp_MHW, axes=(-2, -1))
    with pytest.raises(DataError, match="fftshift"):
        read_scan(scan_file(diff3d=shifted))


def test_a_noisy_background_does_not_hide_fft_order(small_scan: ScanData) -> None:
    """DATA-023: the corners need not hold all of the energy."""
    shifted = np.fft.ifftshift(small_scan.diffraction_amp_MHW, axes=(-2, -1)).astype(np.float64)
    noisy = np.sqrt(shifted**2 + 0.4 * np.mean(shifted**2))
    with pytest.raises(DataError, match="fftshift"):
        require_centred(noisy, "x")


@pytest.mark.parametrize("kind", ["flat", "beamstop", "off_centre", "dark"])
def test_odd_but_centred_patterns_pass(small_scan: ScanData, kind: str) -> None:
    """DATA-023: only what is clearly in FFT order is refused."""
    amp_MHW = small_scan.diffraction_amp_MHW.astype(np.float64)
    if kind == "flat":
        amp_MHW = np.ones_like(amp_MHW)
    elif kind == "beamstop":
        amp_MHW = amp_MHW + 0.2
        amp_MHW[:, 28:36, 28:36] = 0
    elif kind == "off_centre":
        amp_MHW = np.roll(amp_MHW, (9, -7), axis=(1, 2))
    else:
        amp_MHW = np.zeros_like(amp_MHW)
    require_centred(amp_MHW, "x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, "not finite, first in pattern 35"),
        (np.inf, "not finite, first in pattern 35"),
        (-0.5, r"negative value \(-0.5\), first in pattern 35"),
    ],
)
def test_bad_values_behind_the_leading_patterns_are_refused(
    scan_file: ScanFile, small_scan: ScanData, value: float, message: str
) -> None:
    """DATA-024: and the pattern is named."""
    amp_MHW = small_scan.diffraction_amp_MHW.copy()
    amp_MHW[35, 5, 6] = value
    with pytest.raises(DataError, match=message):
        read_scan(scan_file(diff3d=amp_MHW))


def test_values_beyond_float32_and_patterns_without_signal(
    scan_file: ScanFile, small_scan: ScanData
) -> None:
    """DATA-024."""
    amp_MHW = small_scan.diffraction_amp_MHW.astype(np.float64)
    amp_MHW[39, 0, 0] = 1e300
    with pytest.raises(DataError, match="not finite"):
        read_scan(scan_file(diff3d=amp_MHW))
    with pytest.raises(DataError, match="zero everywhere"):
        read_scan(scan_file(diff3d=np.zeros((40, 64, 64), np.float32)))
