"""Convert a far-field scan in tike's layout to a scan file (specs/data_contract.md, section 8).

Binning: summing b × b counts of the centred pattern makes the real-space window b times smaller,
H = b·N, and keeps the pixel size of the object and the positions. The probe is cropped. Along one
axis, pixel N/2 + m sums the fine frequencies b·m to b·m + b - 1. Their middle is not b·m but
(b - 1)/2 fine pixels higher, a quarter of a coarse pixel for b = 2. With x counted from the centre
of the window,

    Σ_x ψ(x) exp(-2πi (b·m + a)·x/H) = Σ_x [ψ(x) exp(-2πi a·x/H)] exp(-2πi m·x/N),

so the far field at the fine frequency b·m + a equals that of the small window at m, if the probe,
a factor of the exit wave ψ, is multiplied by a phase ramp. The ramp for the middle, a = (b - 1)/2,
removes the shift without changing object or positions. An approximation remains: the prediction
holds for the middle of each pixel, while the detector sums over the pixel, which blurs the finest
speckles.

With `split_modes` binning is exact for an exit wave that fits into the small window: the ramps of
the b × b fine pixels (a, a'), divided by b, each make a probe mode, and because the intensities of
modes add, their sum is that of the fine pixels. Any unitary mixture of the modes predicts the same
intensities, so they are mixed into orthogonal modes, of which a few hold nearly all of the energy.
"""

from __future__ import annotations

import itertools
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import numpy as np

from ptycho_dist.data.checks import LEADING_FRAMES, Unit, established_unit, require_centred
from ptycho_dist.data.formats import ScanData, write_scan
from ptycho_dist.data.tike import TikeScan, open_tike
from ptycho_dist.errors import DataError, UserError

_LEAST_ENERGY_KEPT = 0.9  # part of the probe's energy inside the crop, below which we warn
_LEAST_MODE_ENERGY = 1e-6  # energy of a split mode relative to all modes, below which it is dropped


@dataclass(frozen=True)
class Conversion:
    """Properties of the file that was written.

    Attributes:
        n_patterns: M of the new file.
        N: Rows and columns of its patterns.
        probe_modes: P of the new file.
        probe_energy_kept: Σ|P|² inside the crop, relative to the whole probe.
        warnings: Warnings of one sentence each.
    """

    n_patterns: int
    N: int
    probe_modes: int
    probe_energy_kept: float
    warnings: tuple[str, ...]


def convert_scan(
    source: Path, out: Path, *, bin_factor: int = 1, split_modes: bool = False
) -> Conversion:
    """Convert a scan in tike's layout to a scan file, written completely or not at all.

    Patterns pass through memory block by block; unpacked and converted data are kept in unnamed
    files in the folder of `out`.

    Args:
        source: The scan in tike's layout, .npz or .npz.bz2.
        out: The scan file to write.
        bin_factor: b, detector pixels summed along each axis; a power of two that leaves N even.
        split_modes: Whether to make up to b² probe modes of each mode, so that binning is exact.

    Raises:
        DataError: Section 8 of the data contract refuses the source, or `out` cannot be written.
        UserError: `bin_factor` does not fit the patterns.
    """
    with open_tike(source, out.parent) as tike:
        N = _binned_size(tike.size, bin_factor, split_modes)
        probe_PHW, kept = cropped_probe(tike.probe_PHW, bin_factor, split_modes=split_modes)
        try:
            with tempfile.TemporaryFile(dir=out.parent) as unnamed:
                unit = _write_amplitudes(tike, bin_factor, unnamed)
                unnamed.flush()
                shape = (tike.n_patterns, N, N)
                amp_MHW = np.memmap(unnamed, np.float32, "r", shape=shape)
                scan = ScanData(amp_MHW, probe_PHW, tike.x_px, tike.y_px, unit)
                write_scan(out, scan, _metadata(tike, bin_factor, split_modes, kept))
        except OSError as error:
            raise DataError(f"{out}: cannot be written ({error.strerror or error})") from error
        concerns = {
            f"the crop keeps only {kept:.0%} of the probe's energy: bin less": (
                kept < _LEAST_ENERGY_KEPT
            ),
            "data are not whole numbers, so nothing confirms that they are counts: the unit is "
            "unverified": unit == "unverified",
        }
    warnings = tuple(sentence for sentence, holds in concerns.items() if holds)
    return Conversion(tike.n_patterns, N, len(probe_PHW), kept, warnings)


def cropped_probe(
    probe_PHW: np.ndarray, bin_factor: int, *, split_modes: bool = False
) -> tuple[np.ndarray, float]:
    """Crop the probe for patterns that are binned b × b.

    Args:
        probe_PHW: (P, H, H) complex, centre at [H/2, H/2].
        bin_factor: b, a divisor of H; the window becomes N = H/b pixels.
        split_modes: Whether to use the ramps of all b² fine pixels instead of that of their middle.

    Returns:
        The probe, (P, N, N) complex64, in the unit of the input; with `split_modes` up to P·b²
        modes, strongest first, without those below 1e-6 of the energy. Second, Σ|P|² inside the
        crop relative to the whole probe.
    """
    size = probe_PHW.shape[-1]
    N = size // bin_factor
    inside = slice(size // 2 - N // 2, size // 2 + N // 2)
    crop_PHW = probe_PHW[:, inside, inside].astype(np.complex128)
    energy = float(np.sum(np.abs(probe_PHW.astype(np.complex128)) ** 2))
    kept = float(np.sum(np.abs(crop_PHW) ** 2)) / energy
    if not split_modes:
        middle = (bin_factor - 1) / 2
        return (crop_PHW * _ramp(N, bin_factor, middle, middle)).astype(np.complex64), kept
    fine_pixels = itertools.product(range(bin_factor), repeat=2)
    ramped_PHW = np.concatenate([crop_PHW * _ramp(N, bin_factor, *pixel) for pixel in fine_pixels])
    # (P·b², N·N) = U·S·V: S·V predicts the same intensities, and its rows are orthogonal
    _, strength_P, rows_PX = np.linalg.svd(
        ramped_PHW.reshape(len(ramped_PHW), -1) / bin_factor, full_matrices=False
    )
    strong_P = strength_P**2 >= _LEAST_MODE_ENERGY * np.sum(strength_P**2)
    modes_PX = (strength_P[:, None] * rows_PX)[strong_P]
    return modes_PX.reshape(-1, N, N).astype(np.complex64), kept


def _ramp(N: int, bin_factor: int, row: float, column: float) -> np.ndarray:
    """Compute the (N, N) phase ramp that moves frequency (b·m + row, b·n + column) to (m, n)."""
    turn_N = -2j * np.pi * (np.arange(N) - N // 2) / (bin_factor * N)
    return np.asarray(np.exp(turn_N * row)[:, None] * np.exp(turn_N * column))


def _write_amplitudes(tike: TikeScan, bin_factor: int, stream: IO[bytes]) -> Unit:
    """Append the square roots of the centred, binned counts; returns how their unit is known."""
    what = f"{tike.path}: data"
    N = tike.size // bin_factor
    judged = min(LEADING_FRAMES, tike.n_patterns)
    leading: list[np.ndarray] = []
    whole, lit = True, False
    for first, counts_MHW in tike.blocks():
        whole_block = bool(np.all(counts_MHW == np.rint(counts_MHW)))
        if first == 0 and not whole_block and established_unit(counts_MHW, None, what) == "counts":
            raise DataError(f"{what} holds square roots of counts: save their squares as data")
        centred_MHW = np.fft.fftshift(counts_MHW, axes=(-2, -1))
        binned_MHW = centred_MHW.reshape(-1, N, bin_factor, N, bin_factor).sum(axis=(2, 4))
        amp_MHW = np.sqrt(binned_MHW).astype(np.float32)
        if first < judged:
            leading.append(amp_MHW[: judged - first])
            if first + len(amp_MHW) >= judged:
                _require_corner_order(np.concatenate(leading), what)
        stream.write(amp_MHW.tobytes())
        whole, lit = whole and whole_block, lit or bool(counts_MHW.any())
    if not lit:
        raise DataError(f"{what} is zero everywhere: there is nothing to train on")
    return "counts" if whole else "unverified"


def _require_corner_order(amp_MHW: np.ndarray, what: str) -> None:
    """Refuse patterns whose bright centre is in the corners even after the shift to the centre."""
    try:
        require_centred(amp_MHW, what)
    except DataError as error:
        raise DataError(
            f"{what} is already centred: the bright centre lies in the middle of the patterns, but "
            "tike's layout has it in the corners: apply numpy.fft.ifftshift over the last two axes"
        ) from error


def _binned_size(size: int, bin_factor: int, split_modes: bool) -> int:
    """Check the bin factor and return N, the size of the binned patterns."""
    if bin_factor < 1 or bin_factor & (bin_factor - 1):
        raise UserError(f"--bin is {bin_factor}, but must be a power of two: 1, 2, 4 ...")
    if split_modes and bin_factor == 1:
        raise UserError("--split-modes needs --bin 2 or more: without binning nothing is split")
    N, rest = divmod(size, bin_factor)
    if rest or N % 2 or N < 8:
        raise UserError(
            f"--bin {bin_factor} does not fit patterns of {size} × {size} px: {size}/{bin_factor} "
            "must be even, 8 or more"
        )
    return N


def _metadata(tike: TikeScan, bin_factor: int, split_modes: bool, kept: float) -> dict[str, Any]:
    steps = [
        "patterns: centred, zero frequency at [N/2, N/2] (fftshift)",
        "patterns: square root of the counts, float32",
        "positions: (row, column) became (ycoords, xcoords), px; the origin is that of the source",
    ]
    if bin_factor > 1:
        shift = (bin_factor - 1) / (2 * bin_factor)
        steps[1:1] = [
            f"patterns: {bin_factor} × {bin_factor} counts summed; each pixel lies {shift:g} px "
            "above its index in row and column"
        ]
        steps.append("probe: cropped to the central N × N px")
        steps.append(
            "probe: the ramp of each summed pixel makes a mode, mixed into orthogonal modes; exact"
            if split_modes
            else f"probe: times exp(-2πi·{shift:g}·(x + y)/N), so that its patterns have that shift"
        )
    return {
        "conversion": {
            "by": f"ptycho-dist {_own_version()}",
            "source": tike.path.name,
            "source_sha256": tike.sha256,
            "source_layout": "tike",
            "bin": bin_factor,
            "probe_energy_kept": round(kept, 6),
            "steps": steps,
        }
    }


def _own_version() -> str:
    try:
        return version("ptycho-dist")
    except PackageNotFoundError:
        return "(not installed)"
