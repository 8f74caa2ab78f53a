"""Checks that the arrays of a scan must pass before training (DATA-020 and following).

These are pure functions of arrays; their argument `what` (file and key) begins each message. They
are torch-free, so that the header reader of the login node and the full reader of the rank apply
the same checks.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from ptycho_dist.errors import DataError

Unit = Literal["tagged", "counts", "unverified"]
"""How it is known that the patterns are amplitudes, sqrt(counts).

`tagged`: the metadata of the file says so; `counts`: their squares are whole numbers;
`unverified`: neither.
"""

LEADING_FRAMES = 32
"""Number of leading patterns from which every reader judges unit and centring."""

_CORNERS_WIN = 3.0
_RESOLVABLE_COUNTS = 2.0**20  # above, one float32 step of sqrt(n) moves its square by 1/4 or more


def established_unit(amp_MHW: np.ndarray, tag: str | None, what: str) -> Unit:
    """Determine how the amplitude unit of the patterns is known; see `Unit`.

    The square root of a count is whole only if the count is a square number. Amplitudes that are
    all whole and exceed 1 would need counts of 0, 1, 4, 9 ... and never a 2 or a 3, so such values
    are counts. float32 stores sqrt(n) to half a unit in the last place, so its square is within
    n·2⁻²² of n; only pixels where this is below 1/4 are used.

    Args:
        amp_MHW: Leading patterns of any real dtype, supposed to be amplitudes in sqrt(counts).
        tag: `diffraction_unit` of the file's metadata; None if it has no such entry.
        what: File and key, for messages.

    Raises:
        DataError: The tag names another unit, or the values are counts.
    """
    if tag is not None and tag != "amplitude":
        raise DataError(
            f'{what} is tagged "{tag}", but amplitude is needed: store sqrt(counts) and tag it '
            '"amplitude"'
        )
    if amp_MHW.dtype.kind in "iub":
        raise DataError(
            f"{what} has dtype {amp_MHW.dtype}, so it holds counts, but amplitude is needed: "
            "store sqrt(counts) as float32"
        )
    amp_MHW = amp_MHW.astype(np.float64)
    # Squaring a float32 amplitude returns its count up to two rounding errors.
    rounding = 2.0**-21 * amp_MHW
    whole = bool(np.all(np.abs(amp_MHW - np.rint(amp_MHW)) <= rounding))
    if whole and amp_MHW.max(initial=0.0) > 1.5:
        raise DataError(
            f"{what} holds only whole numbers (up to {amp_MHW.max():.0f}), so it holds counts, "
            "but amplitude is needed: store sqrt(counts)"
        )
    if tag == "amplitude":
        return "tagged"
    squares = amp_MHW**2
    squares = squares[(squares > 0) & (squares < _RESOLVABLE_COUNTS)]
    off_whole = np.abs(squares - np.rint(squares))
    if squares.size and not whole and bool(np.all(off_whole <= 2.0**-22 * squares)):
        return "counts"
    return "unverified"


def require_centred(amp_MHW: np.ndarray, what: str) -> None:
    """Refuse patterns in FFT order, whose bright centre lies in the four corners.

    The check compares, on the mean intensity of the patterns, the energy of the central N/2 × N/2
    square with that of the four N/4 × N/4 corner squares, which together have the same area. A flat
    or dark pattern has a ratio of 1 and passes; a ratio above 3 is refused.

    Args:
        amp_MHW: (M, N, N) real, leading patterns.
        what: File and key, for messages.

    Raises:
        DataError: The corners hold more than three times the energy of the centre.
    """
    intensity_HW = np.mean(amp_MHW.astype(np.float64) ** 2, axis=0)
    quarter = intensity_HW.shape[0] // 4
    centre = intensity_HW[quarter:-quarter, quarter:-quarter].sum()
    shifted_HW = np.fft.fftshift(intensity_HW)
    corners = shifted_HW[quarter:-quarter, quarter:-quarter].sum()
    if corners > _CORNERS_WIN * centre:
        raise DataError(
            f"{what} has its bright centre in the corners (FFT order): apply "
            "numpy.fft.fftshift over the last two axes before saving"
        )


def require_amplitude_values(amp_MHW: np.ndarray, what: str) -> None:
    """Refuse NaN, infinity, negative values, and a scan without any signal.

    Args:
        amp_MHW: (M, N, N) floating point, patterns.
        what: File and key, for messages.

    Raises:
        DataError: The message names the first pattern at fault.
    """
    lit = False
    for index, amp_HW in enumerate(amp_MHW):
        low, high = float(amp_HW.min()), float(amp_HW.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise DataError(
                f"{what} has a value that is not finite, first in pattern {index}: mask such "
                "pixels to 0 or drop the pattern"
            )
        if low < 0:
            raise DataError(
                f"{what} has a negative value ({low:.4g}), first in pattern {index}: amplitudes "
                "are sqrt(counts); clip after subtracting a background"
            )
        lit = lit or high > 0
    if not lit:
        raise DataError(f"{what} is zero everywhere: there is nothing to train on")


def require_finite(values: np.ndarray, what: str) -> None:
    """Refuse NaN and infinity in an array of any shape, real or complex.

    Raises:
        DataError: The message says how many values are not finite.
    """
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise DataError(f"{what} has {bad} values that are not finite: correct or remove them")
