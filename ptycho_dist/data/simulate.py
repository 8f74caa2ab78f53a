"""Simulate scans with a known truth, for tests and for learning. Torch-free.

Positions follow `ptycho_dist.data.canvas`: [0, 0] is the first pixel of the simulated object, and
at whole positions a patch is O[y - N/2 : y + N/2, x - N/2 : x + N/2]. Between pixels the probe is
moved by a Fourier shift. The probe is smooth and vanishes before the edge of its window, so this is
exact up to rounding.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.special import erfc

from ptycho_dist.data.canvas import canvas_layout
from ptycho_dist.data.formats import ScanData, replacing
from ptycho_dist.data.npz import open_npz
from ptycho_dist.errors import DataError, UserError

_OBJECT_STREAM, _SCAN_STREAM, _NOISE_STREAM = 1, 2, 3
_GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
_BLOCK = 64  # number of patterns computed at once
_MARGIN_PX = 2  # width of the canvas beyond the outermost patches
_AMPLITUDE_RANGE = (0.4, 1.0)
_PHASE_RANGE_RAD = (-0.5 * np.pi, 0.5 * np.pi)
_DEFOCUS_RAD = 5.0  # phase of the probe at the rim of its aperture


@dataclass(frozen=True, kw_only=True)
class SimulationSpec:
    """Parameters of a simulated scan.

    Attributes:
        N: Rows and columns of a pattern in pixels; even, 16 or more.
        n_patterns: Number M of patterns, 1 or more.
        scan: `raster` (rows of a nearly square grid) or `spiral` (Fermat's, of even density).
        step_px: Spacing of the raster, or of a raster with the density of the spiral; above 0.
        jitter_px: Largest random shift of each coordinate, uniformly distributed; 0 or more.
        n_photons: Mean number of photons per pattern, above 0.
        seed: Seed of object, jitter and noise; 0 or more.
    """

    N: int = 64
    n_patterns: int = 512
    scan: Literal["raster", "spiral"] = "raster"
    step_px: float = 6.0
    jitter_px: float = 1.0
    n_photons: float = 1e6
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UserError: A value is outside its range; the message names the first one.
        """
        bounds = {
            "N": (self.N >= 16 and self.N % 2 == 0, "even, 16 or more"),
            "n_patterns": (self.n_patterns >= 1, "1 or more"),
            "scan": (self.scan in ("raster", "spiral"), "raster or spiral"),
            "step_px": (0 < self.step_px < np.inf, "above 0"),
            "jitter_px": (0 <= self.jitter_px < np.inf, "0 or more"),
            "n_photons": (0 < self.n_photons <= 1e15, "above 0, up to 1e15"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (holds, rule) in bounds.items():
            if not holds:
                raise UserError(f"{name} is {getattr(self, name)}, but must be {rule}")


@dataclass(frozen=True, eq=False)
class SimulationTruth:
    """The object and the probe from which the patterns were computed.

    Attributes:
        object_YX: (Y, X) complex64, transmission of the object on its canvas.
        probe_PHW: (1, N, N) complex64, sqrt(counts).
        spec: Parameters of the simulation.
    """

    object_YX: np.ndarray
    probe_PHW: np.ndarray
    spec: SimulationSpec


def simulate(spec: SimulationSpec) -> tuple[ScanData, SimulationTruth]:
    """Simulate a scan with Poisson noise; equal parameters give equal results.

    The probe is scaled so that the expected mean is `n_photons` counts per pattern.

    Returns:
        The scan and the truth behind it.
    """
    x_px, y_px = _positions(spec)
    reach_px = spec.N // 2 + _MARGIN_PX
    x_px, y_px = x_px - np.floor(x_px.min()) + reach_px, y_px - np.floor(y_px.min()) + reach_px
    canvas_YX = (int(y_px.max()) + reach_px + 1, int(x_px.max()) + reach_px + 1)
    object_YX = _textured_object(canvas_YX, np.random.default_rng([spec.seed, _OBJECT_STREAM]))
    probe_PHW = _curved_probe(spec.N)
    counts_MHW = expected_counts(object_YX, probe_PHW, x_px, y_px)
    scale = spec.n_photons / counts_MHW.sum(axis=(1, 2)).mean()
    noise = np.random.default_rng([spec.seed, _NOISE_STREAM])
    amp_MHW = np.empty(counts_MHW.shape, dtype=np.float32)
    for amp_HW, counts_HW in zip(amp_MHW, counts_MHW, strict=True):
        amp_HW[:] = np.sqrt(noise.poisson(scale * counts_HW))
    probe_PHW = (probe_PHW * np.sqrt(scale)).astype(np.complex64)
    truth = SimulationTruth(object_YX.astype(np.complex64), probe_PHW, spec)
    return ScanData(amp_MHW, probe_PHW, x_px, y_px, "counts"), truth


def expected_counts(
    object_YX: np.ndarray, probe_PHW: np.ndarray, x_px: np.ndarray, y_px: np.ndarray
) -> np.ndarray:
    """Compute the noise-free patterns I = fftshift Σ_p |FFT₂(O·P_p)|² / N² in float64.

    This is the far-field model of specs/data_contract.md, with positions as in this module.

    Args:
        object_YX: Complex transmission.
        probe_PHW: Complex modes, sqrt(counts).
        x_px: (M,) columns of the positions, pixels of the object.
        y_px: (M,) rows of the positions, pixels of the object.

    Returns:
        (M, N, N) float64 counts, zero frequency at [N/2, N/2].

    Raises:
        ValueError: A patch extends beyond the object.
    """
    size = probe_PHW.shape[-1]
    layout = canvas_layout(x_px, y_px, size)
    left_M, top_M = (layout.corner_M2 + np.array(layout.origin_px)).T
    rest_x_M, rest_y_M = layout.rest_M2.T
    rows, columns = object_YX.shape
    if (
        min(left_M.min(), top_M.min()) < 0
        or left_M.max() > columns - size
        or (top_M.max() > rows - size)
    ):
        raise ValueError(f"a position is too close to the edge of the {rows} × {columns} object")
    windows = np.lib.stride_tricks.sliding_window_view(object_YX, (size, size))
    frequency = np.fft.fftfreq(size)
    spectrum_PHW = np.fft.fft2(probe_PHW.astype(np.complex128))
    counts_MHW = np.empty((x_px.size, size, size))
    for start in range(0, x_px.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        turn_BH = np.exp(-2j * np.pi * rest_y_M[block, None] * frequency)
        turn_BW = np.exp(-2j * np.pi * rest_x_M[block, None] * frequency)
        turn_BHW = turn_BH[:, :, None] * turn_BW[:, None, :]
        probe_BPHW = np.fft.ifft2(spectrum_PHW * turn_BHW[:, None])
        exit_wave_BPHW = windows[top_M[block], left_M[block]][:, None] * probe_BPHW
        far_field_BPHW = np.fft.fft2(exit_wave_BPHW, norm="ortho")
        intensity_BHW = (np.abs(far_field_BPHW) ** 2).sum(axis=1)
        counts_MHW[block] = np.fft.fftshift(intensity_BHW, axes=(-2, -1))
    return counts_MHW


def truth_path(path: Path) -> Path:
    """Return the path of the truth of the scan file NAME.npz: NAME.truth.npz beside it."""
    return path.with_suffix(".truth.npz")


def labels_of(truth: SimulationTruth, scan: ScanData) -> np.ndarray:
    """Cut out the object patch of each pattern on whole pixels, (M, N, N) complex64 (DATA-062)."""
    layout = canvas_layout(scan.x_px, scan.y_px, scan.N)
    corner_M2 = layout.corner_M2 + layout.origin_px
    return np.stack([truth.object_YX[y : y + scan.N, x : x + scan.N] for x, y in corner_M2]).astype(
        np.complex64
    )


def write_truth(path: Path, truth: SimulationTruth, scan: ScanData) -> None:
    """Write the truth to a separate file, so that no training reads it by accident.

    The file holds `object_YX`, `probe_PHW`, `x_px`, `y_px` and `spec` (JSON text), and is written
    completely or not at all.

    Raises:
        DataError: The file cannot be written.
    """
    with replacing(path) as stream:
        np.savez(
            stream,
            object_YX=truth.object_YX,
            probe_PHW=truth.probe_PHW,
            x_px=scan.x_px,
            y_px=scan.y_px,
            spec=np.array(json.dumps(asdict(truth.spec)), dtype=np.str_),
        )


def read_truth(path: Path, scan: ScanData) -> np.ndarray:
    """Read the object of a truth file, on the canvas to which the positions refer.

    The scan may be a part of the simulated one. Nothing is unpickled.

    Returns:
        (Y, X) complex64.

    Raises:
        DataError: The file is damaged or belongs to another scan.
    """
    with open_npz(path) as npz:
        for key in ("object_YX", "x_px", "y_px"):
            if key not in npz.keys:
                raise DataError(f"{path}: {key} is missing: not a truth file of `simulate`")
        object_YX, x_px, y_px = (npz.read(key) for key in ("object_YX", "x_px", "y_px"))
    of_truth = set(zip(x_px.ravel().tolist(), y_px.ravel().tolist(), strict=False))
    if not of_truth.issuperset(zip(scan.x_px.tolist(), scan.y_px.tolist(), strict=True)):
        raise DataError(f"{path}: belongs to another scan: its positions differ")
    if object_YX.ndim != 2 or object_YX.dtype.kind != "c" or not np.isfinite(object_YX).all():
        raise DataError(f"{path}: object_YX must be a finite complex image")
    return np.asarray(object_YX, dtype=np.complex64)


def _positions(spec: SimulationSpec) -> tuple[np.ndarray, np.ndarray]:
    """Compute the positions x and y, each (M,) float64 px, relative to an arbitrary origin."""
    number_M = np.arange(spec.n_patterns)
    if spec.scan == "raster":
        columns = int(np.ceil(np.sqrt(spec.n_patterns)))
        x_px, y_px = spec.step_px * (number_M % columns), spec.step_px * (number_M // columns)
    else:
        # n points with a density of one per step² fill a disc of area n·step²
        radius_px = spec.step_px * np.sqrt((number_M + 0.5) / np.pi)
        x_px = radius_px * np.cos(_GOLDEN_ANGLE * number_M)
        y_px = radius_px * np.sin(_GOLDEN_ANGLE * number_M)
    generator = np.random.default_rng([spec.seed, _SCAN_STREAM])
    jitter_2M = generator.uniform(-spec.jitter_px, spec.jitter_px, (2, spec.n_patterns))
    return x_px + jitter_2M[0], y_px + jitter_2M[1]


def _curved_probe(size: int) -> np.ndarray:
    """Make a probe of one mode, (1, N, N) complex128: a soft disc of N/2 px with defocus phase."""
    axis = np.arange(size) - size // 2
    squared_HW = axis[:, None] ** 2.0 + axis**2.0
    rim = size / 4
    aperture_HW = 0.5 * erfc((np.sqrt(squared_HW) - rim) / (0.15 * rim))
    return (aperture_HW * np.exp(1j * _DEFOCUS_RAD * squared_HW / rim**2))[None]


def _textured_object(canvas_YX: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Draw an object, (Y, X) complex128, with texture and shapes in amplitude and in phase."""
    levels = []
    for _ in range(2):
        level_YX = _texture(canvas_YX, generator)
        _add_shapes(level_YX, generator)
        levels.append(np.clip(level_YX, 0, 1))
    amplitude_YX = _AMPLITUDE_RANGE[0] + np.ptp(_AMPLITUDE_RANGE) * levels[0]
    phase_YX = _PHASE_RANGE_RAD[0] + np.ptp(_PHASE_RANGE_RAD) * levels[1]
    return amplitude_YX * np.exp(1j * phase_YX)


def _texture(canvas_YX: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Draw 1/f² noise up to 0.2 cycles per pixel, (Y, X), with values evenly spread over 0 to 1."""
    frequency_Y, frequency_X = (np.fft.fftfreq(length) for length in canvas_YX)
    frequency_YX = np.hypot(frequency_Y[:, None], frequency_X)
    filter_YX = np.exp(-((frequency_YX / 0.2) ** 4)) / (1 + (frequency_YX / 0.03) ** 2)
    white_YX = generator.standard_normal(canvas_YX)
    smooth_YX = np.fft.ifft2(np.fft.fft2(white_YX) * filter_YX).real
    smooth_YX -= smooth_YX.mean()
    return np.asarray(0.5 * erfc(-smooth_YX / (np.sqrt(2) * smooth_YX.std())))


def _add_shapes(level_YX: np.ndarray, generator: np.random.Generator) -> None:
    """Raise or lower discs and tilted bars in place, about one per 24 × 24 pixels."""
    rows, columns = level_YX.shape
    for _ in range(level_YX.size // 24**2):
        y, x = generator.uniform(0, rows), generator.uniform(0, columns)
        radius, width = generator.uniform(3, 9), generator.uniform(1.5, 4)
        angle, change = generator.uniform(0, np.pi), generator.choice([-0.4, 0.4])
        disc = bool(generator.integers(2))
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        box_YX = level_YX[top : int(y + radius) + 2, left : int(x + radius) + 2]
        offset_Y = np.arange(top, top + box_YX.shape[0])[:, None] - y
        offset_X = np.arange(left, left + box_YX.shape[1]) - x
        inside_YX = np.hypot(offset_Y, offset_X) <= radius
        if not disc:
            inside_YX &= np.abs(offset_X * np.sin(angle) - offset_Y * np.cos(angle)) <= width
        box_YX[inside_YX] += change
