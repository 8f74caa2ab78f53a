"""Read and write the scan file: an `.npz` with patterns, positions and probe (data_contract.md).

Keys: `xcoords`, `ycoords` (M,) px; `diff3d` (M, N, N) amplitude = sqrt(counts), centred (alias
`diffraction`); `probeGuess` (N, N) or (P, N, N) complex; `_metadata` JSON text; `label` (M, N, N)
complex, read only for supervised training. Other keys are ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from ptycho_dist.data.checks import (
    LEADING_FRAMES,
    Unit,
    established_unit,
    require_amplitude_values,
    require_centred,
    require_finite,
)
from ptycho_dist.data.npz import Member, NpzReader, open_npz
from ptycho_dist.errors import DataError

_PATTERN_KEYS = ("diff3d", "diffraction")
_INTENSITY_KEY = "diffraction_patterns"
_METADATA_KEY = "_metadata"
_LABEL_KEY = "label"
_UNIT_TAG = "diffraction_unit"


@dataclass(frozen=True, eq=False)
class ScanData:
    """One scan in memory, after all checks.

    Attributes:
        diffraction_amp_MHW: (M, N, N) float32, sqrt(counts), zero frequency at [N/2, N/2].
        probe_PHW: (P, N, N) complex64, incoherent modes, centred on pixel [N/2, N/2].
        x_px: (M,) float64, column of the patch centre, in object pixels.
        y_px: (M,) float64, row of the patch centre, in object pixels.
        unit: How the amplitude unit is known: "tagged", "counts" or "unverified".
        label_MHW: (M, N, N) complex64, object patch of each pattern, pixel [N/2, N/2] on the whole
            pixel nearest to its position; None if it was not read or does not exist.
    """

    diffraction_amp_MHW: np.ndarray
    probe_PHW: np.ndarray
    x_px: np.ndarray
    y_px: np.ndarray
    unit: Unit
    label_MHW: np.ndarray | None = None

    @property
    def n_patterns(self) -> int:
        """Number M of patterns."""
        return int(self.diffraction_amp_MHW.shape[0])

    @property
    def N(self) -> int:
        """Rows and columns of a pattern in pixels."""
        return int(self.diffraction_amp_MHW.shape[1])


@dataclass(frozen=True)
class Layout:
    """Where a file stores its patterns: the member, the axis that counts them, M and N."""

    member: Member
    frame_axis: int
    n_patterns: int
    N: int


def read_scan(path: str | Path, with_labels: bool = False) -> ScanData:
    """Read and check a whole scan file. Nothing is unpickled.

    Args:
        path: The scan file.
        with_labels: Whether to read the labels for supervised training.

    Raises:
        DataError: specs/data_contract.md refuses the file; the one-line message names file, key,
            finding and remedy.
    """
    path = Path(path)
    with open_npz(path) as npz:
        x_px, y_px, layout = positions_and_layout(npz)
        probe_PHW = read_probe(npz, layout.N)
        tag = read_unit_tag(npz)
        what = f"{path}: {layout.member.key}"
        raw = npz.read(layout.member.key)
        label_MHW = read_labels(npz, layout) if with_labels else None
    raw_MHW = np.moveaxis(raw, layout.frame_axis, 0)
    unit = check_leading_frames(raw_MHW[:LEADING_FRAMES], tag, what)
    with np.errstate(over="ignore"):  # a value that overflows float32 is refused below
        amp_MHW = np.ascontiguousarray(raw_MHW, dtype=np.float32)
    require_amplitude_values(amp_MHW, what)
    return ScanData(amp_MHW, probe_PHW, x_px, y_px, unit, label_MHW)


def write_scan(path: str | Path, scan: ScanData, metadata: Mapping[str, Any]) -> None:
    """Write a scan file, completely or not at all.

    Args:
        path: The file to write.
        scan: The scan.
        metadata: Entries to store as JSON text under `_metadata`. The tag
            `diffraction_unit: amplitude` is added unless the unit of the scan is unverified.

    Raises:
        DataError: The file cannot be written.
        ValueError: `metadata` already holds another tag.
        TypeError: `metadata` cannot be written as JSON.
    """
    entries = dict(metadata)
    if scan.unit != "unverified":
        if entries.setdefault(_UNIT_TAG, "amplitude") != "amplitude":
            raise ValueError(f"{_UNIT_TAG} is always amplitude, not {entries[_UNIT_TAG]!r}")
    elif _UNIT_TAG in entries:
        raise ValueError(f"{_UNIT_TAG} cannot be given for a scan whose unit is unverified")
    text = json.dumps(entries, sort_keys=True)
    arrays: dict[str, Any] = {
        "diff3d": scan.diffraction_amp_MHW,
        "probeGuess": scan.probe_PHW,
        "xcoords": scan.x_px,
        "ycoords": scan.y_px,
        _METADATA_KEY: np.array(text, dtype=np.str_),
    }
    if scan.label_MHW is not None:
        arrays[_LABEL_KEY] = scan.label_MHW
    with replacing(Path(path)) as stream:
        np.savez(stream, **arrays)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a binary stream whose content becomes `path` if the block ends without an error.

    The content is written beside `path`, fsynced and renamed to it. After an error or Ctrl-C
    nothing is left behind.

    Raises:
        DataError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def positions_and_layout(npz: NpzReader) -> tuple[np.ndarray, np.ndarray, Layout]:
    """Read the positions and find the layout of the patterns.

    The layout of the contract is (M, N, N); (N, N, M) is accepted if it cannot be mistaken for it.

    Returns:
        The positions x and y, each (M,) float64 in px, and the layout.

    Raises:
        DataError: A key is missing, or shapes disagree.
    """
    x_px, y_px = _read_positions(npz, "xcoords"), _read_positions(npz, "ycoords")
    count = x_px.size
    if y_px.size != count:
        raise DataError(
            f"{npz.path}: xcoords has {count} positions and ycoords {y_px.size}: they must agree"
        )
    if count == 0:
        raise DataError(f"{npz.path}: xcoords is empty: a scan needs at least one pattern")
    member = npz.member(_pattern_key(npz))
    shape, what = member.shape, f"{npz.path}: {member.key}"
    if len(shape) == 3 and shape[0] == count and shape[1] == shape[2]:
        frame_axis, size = 0, shape[1]
    elif len(shape) == 3 and shape[2] == count and shape[0] == shape[1]:
        frame_axis, size = 2, shape[0]
    else:
        raise DataError(
            f"{what} has shape {shape}, but {count} positions need ({count}, N, N): one square "
            "pattern for each position"
        )
    if size % 2 or size < 8:
        raise DataError(f"{what} has patterns of {size} × {size} px: N must be even, 8 or more")
    if member.dtype.kind not in "fiub":
        raise DataError(f"{what} has dtype {member.dtype}: amplitudes are real, float32")
    return x_px, y_px, Layout(member, frame_axis, count, size)


def read_probe(npz: NpzReader, N: int) -> np.ndarray:
    """Read the probe modes, (P, N, N) complex64.

    Raises:
        DataError: The probe is missing, has the wrong shape or type, or is zero.
    """
    key = "probeGuess"
    _require(npz, key)
    probe, what = npz.read(key), f"{npz.path}: {key}"
    if probe.ndim not in (2, 3) or probe.shape[-2:] != (N, N) or probe.shape[0] == 0:
        raise DataError(
            f"{what} has shape {probe.shape}, but the patterns need ({N}, {N}) or (P, {N}, {N})"
        )
    if probe.dtype.kind != "c":
        raise DataError(f"{what} has dtype {probe.dtype}: the probe must be complex (complex64)")
    with np.errstate(over="ignore"):
        probe_PHW = np.ascontiguousarray(probe.reshape(-1, N, N), dtype=np.complex64)
    require_finite(probe_PHW, what)
    if not probe_PHW.any():
        raise DataError(f"{what} is zero everywhere: give the illumination of the scan")
    return probe_PHW


def has_labels(npz: NpzReader, layout: Layout) -> bool:
    """Whether the file has a complex object patch for each pattern, judged by the array header."""
    if _LABEL_KEY not in npz.keys:
        return False
    try:
        return _fits(npz.member(_LABEL_KEY), layout)
    except DataError:  # a damaged label matters only to supervised training, which reads it later
        return False


def _fits(label: Member, layout: Layout) -> bool:
    return label.shape == (layout.n_patterns, layout.N, layout.N) and label.dtype.kind == "c"


def read_labels(npz: NpzReader, layout: Layout) -> np.ndarray:
    """Read the object patches, (M, N, N) complex64.

    Raises:
        DataError: They are missing, have the wrong shape or type, are not finite, or are zero
            everywhere.
    """
    if _LABEL_KEY not in npz.keys:
        raise DataError(
            f"{npz.path}: {_LABEL_KEY} is missing, but model_type supervised learns from labels "
            "(DATA-SUP-001): add the object patches, or set model.model_type: pinn"
        )
    member, what = npz.member(_LABEL_KEY), f"{npz.path}: {_LABEL_KEY}"
    if not _fits(member, layout):
        raise DataError(
            f"{what} has shape {member.shape} and dtype {member.dtype}: "
            f"{(layout.n_patterns, layout.N, layout.N)} complex64 is needed, an object patch for "
            "each pattern"
        )
    with np.errstate(over="ignore"):
        label_MHW = np.ascontiguousarray(npz.read(_LABEL_KEY), dtype=np.complex64)
    require_finite(label_MHW, what)
    if not label_MHW.any():
        raise DataError(f"{what} is zero everywhere: give the transmission of the object")
    return label_MHW


def read_unit_tag(npz: NpzReader) -> str | None:
    """Read `diffraction_unit` from the metadata; None if there is no such entry.

    A `_metadata` array of Python objects counts as absent, because nothing is unpickled.

    Raises:
        DataError: The metadata are text but not a JSON object.
    """
    if _METADATA_KEY not in npz.keys or npz.member(_METADATA_KEY).dtype.hasobject:
        return None
    stored = npz.read(_METADATA_KEY)
    entries: object = None
    if stored.dtype.kind == "U" and stored.size == 1:
        with contextlib.suppress(ValueError):
            entries = json.loads(str(stored.item()))
    if not isinstance(entries, dict):
        raise DataError(
            f"{npz.path}: {_METADATA_KEY} is not a JSON object as text: write "
            f'{{"{_UNIT_TAG}": "amplitude"}} or omit it'
        )
    tag = entries.get(_UNIT_TAG)
    return None if tag is None else str(tag)


def check_leading_frames(raw_MHW: np.ndarray, tag: str | None, what: str) -> Unit:
    """Check unit and centring of the leading patterns, in the dtype of the file.

    Returns:
        How the unit is known.

    Raises:
        DataError: See `ptycho_dist.data.checks`.
    """
    if raw_MHW.dtype.kind == "f":
        require_finite(raw_MHW, what)
    unit = established_unit(raw_MHW, tag, what)
    require_centred(raw_MHW, what)
    return unit


def _pattern_key(npz: NpzReader) -> str:
    for key in _PATTERN_KEYS:
        if key in npz.keys:
            return key
    if _INTENSITY_KEY in npz.keys:
        raise DataError(
            f"{npz.path}: {_INTENSITY_KEY} holds intensities, but amplitude is needed: "
            "store its numpy.sqrt, centred, as diff3d"
        )
    _require(npz, _PATTERN_KEYS[0])
    raise AssertionError("unreachable: the line above raises")


def _read_positions(npz: NpzReader, key: str) -> np.ndarray:
    _require(npz, key)
    member = npz.member(key)
    if len(member.shape) != 1 or member.dtype.kind not in "fiuO":
        raise DataError(
            f"{npz.path}: {key} has shape {member.shape} and dtype {member.dtype}: positions are "
            "one number per pattern, float64, in pixels"
        )
    positions_px = npz.read(key).astype(np.float64)
    require_finite(positions_px, f"{npz.path}: {key}")
    return positions_px


def _require(npz: NpzReader, key: str) -> None:
    if key not in npz.keys:
        held = ", ".join(sorted(npz.keys)) or "no array"
        raise DataError(f"{npz.path}: {key} is missing (the file holds {held}): add it")
