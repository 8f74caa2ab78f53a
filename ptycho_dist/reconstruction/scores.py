"""Score a reconstructed object against a known truth; torch is loaded only for SSIM and PSNR.

Patterns with known positions do not determine a complex factor (shared with the probe) or a linear
phase ramp (a shift of the detector's origin). Both are removed before the comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len
from scipy.optimize import minimize

_MIN_SIDE_PX = 16  # the window of SSIM has 11
_ROUNDING = 1e-6  # amplitudes up to 1, or phases in rad, that vary by less count as flat


@dataclass(frozen=True, eq=False)
class FrcCurve:
    """A Fourier ring correlation, from the ring of zero frequency to that of 0.5 cycles per pixel.

    Attributes:
        frequency_cycles_per_px: (R,) float64, middle of each ring, rising from 0.
        correlation: (R,) float64, from -1 to 1.
        half_bit: (R,) float64, half-bit threshold, at most 1.
    """

    frequency_cycles_per_px: np.ndarray
    correlation: np.ndarray
    half_bit: np.ndarray

    @property
    def resolution_px(self) -> float:
        """Full period in px of the first ring after zero below the threshold; 2.0 if none is."""
        below = self.frequency_cycles_per_px[1:][(self.correlation < self.half_bit)[1:]]
        return float(1 / below[0]) if below.size else 2.0  # Nyquist


@dataclass(frozen=True, eq=False)
class ObjectScores:
    """Similarity of an object to the truth, as `score_object` computes it.

    Attributes:
        ssim_amplitude: Structural similarity of the amplitudes, 1 if equal; NaN for a flat truth.
        ssim_phase: Structural similarity of the phases.
        psnr_amplitude: Peak signal-to-noise ratio of the amplitudes in dB; about 300 or infinite
            if equal, NaN for a flat truth.
        psnr_phase: Peak signal-to-noise ratio of the phases in dB.
        frc: Fourier ring correlation with the truth.
    """

    ssim_amplitude: float
    ssim_phase: float
    psnr_amplitude: float
    psnr_phase: float
    frc: FrcCurve


def align_to(
    object_YX: np.ndarray, truth_YX: np.ndarray, weight_YX: np.ndarray | None = None
) -> np.ndarray:
    """Multiply the object by the complex factor and phase ramp that bring it closest to the truth.

    This minimises Σ w·|c·exp(-i(ax + by))·O - T|² over c, a, b. For a given ramp the best c is
    Σ w·O'*·T / Σ w·|O'|² with O' = O·exp(-i(ax + by)) (linear least squares), and the remaining
    error is smallest where |FFT(w·O·T*)| is largest. That maximum is found on the zero-padded grid
    (half a cycle over the field) and refined between its points, as shifts are found by
    Guizar-Sicairos, Thurman & Fienup, Opt. Lett. 33, 156 (2008), with the domains exchanged. No
    phase is unwrapped, so its range does not matter.

    A flat object has no ramp of its own, so it gets the slope that fits the truth best. Noise makes
    |c| smaller. An object of zeros remains zero.

    Args:
        object_YX: (Y, X) complex, with any factor.
        truth_YX: (Y, X) complex, with any factor.
        weight_YX: (Y, X) real, 0 or more, such as the illumination; None for 1 everywhere.

    Returns:
        (Y, X) complex128.

    Raises:
        ValueError: Shapes differ, a value is not finite, a weight is negative, or the weighted
            truth is zero everywhere.
    """
    _require_images(object_YX, truth_YX)
    weight_YX = np.ones(truth_YX.shape) if weight_YX is None else np.asarray(weight_YX, float)
    if weight_YX.shape != truth_YX.shape or not (np.isfinite(weight_YX) & (weight_YX >= 0)).all():
        raise ValueError(f"weights must be finite, 0 or more, and of shape {truth_YX.shape}")
    if not (weight_YX * np.abs(truth_YX)).any():
        raise ValueError("the truth is zero wherever the weight is above zero")
    object_YX, truth_YX = object_YX.astype(np.complex128), truth_YX.astype(np.complex128)
    turned_YX = object_YX * _best_ramp(weight_YX * object_YX * truth_YX.conj())
    energy = (weight_YX * np.abs(object_YX) ** 2).sum()
    overlap = (weight_YX * turned_YX.conj() * truth_YX).sum()
    return np.asarray(turned_YX * (overlap / energy if energy > 0 else 0.0))


def score_object(
    object_YX: np.ndarray, truth_YX: np.ndarray, region: tuple[slice, slice]
) -> ObjectScores:
    """Score the object inside a region; pixels outside do not matter, not even for the alignment.

    Both images are cropped and the object is aligned (`align_to`). SSIM (torchmetrics; Wang et al.,
    IEEE Trans. Image Process. 13, 600 (2004); Gaussian window, σ = 1.5 px) and PSNR
    (10·log₁₀(range² / mean squared error)) compare |O| with |T|, and the phases, each with the
    range of the truth inside the region.

    Phases are relative to that of mean T. φ_t = angle T is compared with φ_t + angle(O·T*), the
    branch of O's phase closest to the truth; with angle O itself, -π against π would count as an
    error of 2π although it is none. Where the two differ by less than π nothing changes (a flat
    object stays flat). But no error exceeds π, so a wrong object scores better as the range of the
    truth approaches 2π: on simulated objects, flat and random ones have a phase SSIM of 0.1 for a
    range of π, up to 0.2 for 1.6π, and 0.5 for 2π. Beyond 1.5π look at the amplitude and the ring
    correlation. A pixel of amplitude 0 has phase 0. The smallest φ_t is subtracted from both,
    because the luminance term of SSIM expects values from 0 up.

    The ring correlation ignores how strong a frequency is: it notices a blur only where the signal
    drowns in noise. As the truth has no noise, it crosses the threshold at a finer period than two
    reconstructions from half of the data each, for which the threshold was derived.

    Args:
        object_YX: (Y, X) complex; any values outside the region.
        truth_YX: (Y, X) complex, same pixels; any values outside the region.
        region: Rows and columns, at least 16 px each; see `scan_region`.

    Raises:
        ValueError: See `align_to`; or the region is too small.
    """
    _require_images(object_YX, truth_YX, region)
    truth_YX = truth_YX[region].astype(np.complex128)
    _require_side("the region", truth_YX.shape)
    object_YX = align_to(object_YX[region], truth_YX)
    unit = np.abs(truth_YX).max()
    ssim_amplitude, psnr_amplitude = _likeness(np.abs(object_YX) / unit, np.abs(truth_YX) / unit)
    turn = np.exp(-1j * np.angle(truth_YX.mean()))
    phase_YX = np.angle(truth_YX * turn)
    angle_YX = np.angle(object_YX * turn + 0)  # + 0, as the angle of -0 is π
    difference_YX = np.angle(np.exp(1j * (angle_YX - phase_YX)))
    phase_YX -= phase_YX.min()
    ssim_phase, psnr_phase = _likeness(phase_YX + difference_YX, phase_YX)
    frc = fourier_ring_correlation(object_YX, truth_YX)
    return ObjectScores(ssim_amplitude, ssim_phase, psnr_amplitude, psnr_phase, frc)


def fourier_ring_correlation(a_YX: np.ndarray, b_YX: np.ndarray) -> FrcCurve:
    """Compute Re Σ A·B* / sqrt(Σ|A|²·Σ|B|²) over rings of the Fourier transforms A and B.

    This is the Fourier ring correlation of van Heel & Schatz, J. Struct. Biol. 151, 250 (2005).
    Both images are multiplied by a Hann window, which keeps the jumps between opposite edges out of
    the rings. Rings are one frequency pixel of the shorter side wide. A ring without power has
    correlation 0. A complex factor between a and b is not removed; see `align_to`.

    The half-bit threshold is T = (0.2071 + 1.9102/√n) / (1.2071 + 0.9102/√n), where n is the number
    of independent pixels of a ring, at least 1: its number of pixels (complex images have no
    Friedel pairs) times 0.51, because the window h correlates neighbours along the ring. The factor
    is Σh² / sqrt(Y·X·Σh⁴), the square root of the window's effective part of the area.

    Args:
        a_YX: (Y, X) complex or real.
        b_YX: (Y, X) complex or real.

    Raises:
        ValueError: Shapes differ, or a value is not finite.
    """
    _require_images(a_YX, b_YX)
    shorter = min(a_YX.shape)
    window_YX = np.outer(*(np.hanning(length + 2)[1:-1] for length in a_YX.shape))
    a_spectrum_YX, b_spectrum_YX = np.fft.fft2(a_YX * window_YX), np.fft.fft2(b_YX * window_YX)
    radius_YX = np.hypot(np.fft.fftfreq(a_YX.shape[0])[:, None], np.fft.fftfreq(a_YX.shape[1]))
    ring_YX, rings = np.floor(radius_YX * shorter + 0.5).astype(np.int64), shorter // 2 + 1

    def over_rings(values_YX: np.ndarray) -> np.ndarray:
        return np.bincount(ring_YX.ravel(), values_YX.ravel())[:rings]

    common_R = over_rings((a_spectrum_YX * b_spectrum_YX.conj()).real)
    a_power_R, b_power_R = over_rings(abs(a_spectrum_YX) ** 2), over_rings(abs(b_spectrum_YX) ** 2)
    power_R = np.sqrt(a_power_R * b_power_R)
    correlation_R = np.divide(common_R, power_R, out=np.zeros(rings), where=power_R > 0)
    independent = (window_YX**2).sum() / np.sqrt(window_YX.size * (window_YX**4).sum())
    root_R = np.sqrt(np.maximum(over_rings(np.ones(a_YX.shape)) * independent, 1))
    half_bit_R = (0.2071 + 1.9102 / root_R) / (1.2071 + 0.9102 / root_R)
    return FrcCurve(np.arange(rings) / shorter, np.clip(correlation_R, -1, 1), half_bit_R)


def scan_region(
    x_px: np.ndarray,
    y_px: np.ndarray,
    canvas_shape: tuple[int, int],
    origin_px: tuple[float, float] = (0.0, 0.0),
) -> tuple[slice, slice]:
    """Return the rows and columns of the canvas between the outermost scan positions.

    Half a probe beyond them there is light too, but too few patterns to determine the object.

    Args:
        x_px: (M,) columns of the probe's centre as in `ptycho_dist.data.simulate`, px.
        y_px: (M,) rows of the probe's centre, px.
        canvas_shape: Rows and columns of the canvas.
        origin_px: (x, y) of canvas pixel [0, 0] in the frame of the positions.

    Raises:
        ValueError: Fewer than 16 rows or columns remain, or a position is not finite.
    """
    if not x_px.size or not (np.isfinite(x_px).all() and np.isfinite(y_px).all()):
        raise ValueError("there must be at least one position, and all must be finite")
    region = []
    for position, first, length in zip((y_px, x_px), origin_px[::-1], canvas_shape, strict=True):
        start = max(int(np.ceil(position.min() - first)), 0)
        stop = min(int(np.floor(position.max() - first)) + 1, length)
        region.append(slice(start, max(start, stop)))
    rows, columns = region
    sides = rows.stop - rows.start, columns.stop - columns.start
    _require_side("the scanned part of the canvas", sides)
    return rows, columns


def _best_ramp(product_YX: np.ndarray) -> np.ndarray:
    """Find the ramp exp(-i(ax + by)), (Y, X), that maximises |Σ product·exp(-i(ax + by))|."""
    shape = product_YX.shape
    # coordinates from the middle as fractions of the field, so that slopes are cycles over it
    part_Y, part_X = ((np.arange(n) - (n - 1) / 2) / n for n in shape)
    padded = tuple(next_fast_len(2 * n) for n in shape)
    strength_YX = np.abs(np.fft.fft2(product_YX, padded))
    peak = np.unravel_index(strength_YX.argmax(), padded)
    start = [np.fft.fftfreq(p)[k] * n for p, k, n in zip(padded, peak, shape, strict=True)]
    scaled_YX = product_YX / (strength_YX.max() or 1.0)

    def turns(slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.exp(-2j * np.pi * slopes[0] * part_Y), np.exp(-2j * np.pi * slopes[1] * part_X)

    def cost(slopes: np.ndarray) -> tuple[float, np.ndarray]:
        """Compute -|Σ|², scaled to -1 at the peak of the grid, and its gradient."""
        turns_Y, turns_X = turns(slopes)
        rows_Y, columns_X = scaled_YX @ turns_X, turns_Y @ scaled_YX
        total = turns_Y @ rows_Y
        moments = np.array([(part_Y * turns_Y) @ rows_Y, columns_X @ (part_X * turns_X)])
        return -(abs(total) ** 2), -4 * np.pi * (total.conj() * moments).imag

    turns_Y, turns_X = turns(minimize(cost, start, jac=True, method="BFGS", tol=1e-9).x)
    return np.asarray(turns_Y[:, None] * turns_X)


def _likeness(image_YX: np.ndarray, truth_YX: np.ndarray) -> tuple[float, float]:
    """Compute SSIM and PSNR (dB) with the range of the truth; NaN, NaN if the truth is flat."""
    import torch
    from torchmetrics.functional import image as scores

    span = float(np.ptp(truth_YX))
    if span < _ROUNDING:
        return float("nan"), float("nan")
    image, truth = (torch.from_numpy(each_YX)[None, None] for each_YX in (image_YX, truth_YX))
    ssim = scores.structural_similarity_index_measure(image, truth, data_range=span)
    psnr = scores.peak_signal_noise_ratio(image, truth, data_range=span)
    return float(torch.as_tensor(ssim)), float(psnr)


def _require_images(a_YX: np.ndarray, b_YX: np.ndarray, region: tuple[slice, ...] = ()) -> None:
    if a_YX.shape != b_YX.shape or a_YX.ndim != 2:
        raise ValueError(f"images of {a_YX.shape} and {b_YX.shape} must agree in (Y, X)")
    if not (np.isfinite(a_YX[region]).all() and np.isfinite(b_YX[region]).all()):
        raise ValueError("images must be finite")


def _require_side(name: str, shape: tuple[int, ...]) -> None:
    if min(shape) < _MIN_SIDE_PX:
        raise ValueError(f"{name} has {shape[0]} × {shape[1]} px but needs {_MIN_SIDE_PX} or more")
