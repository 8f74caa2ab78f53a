"""Read a far-field scan in tike's layout without trusting the file.

The layout is an `.npz`, optionally compressed by bzip2, with `data` (1, M, H, H) or (M, H, H) in
counts with the zero frequency at [0, 0]; `probe` (..., P, H, H), complex, in real space, centre at
[H/2, H/2]; and `scan` (1, M, 2) or (M, 2), px, (row, column). Nothing is unpickled, and patterns
are read block by block, so that neither a large scan nor a decompression bomb fills the memory.
"""

from __future__ import annotations

import bz2
import contextlib
import hashlib
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ptycho_dist.data.checks import require_centred, require_finite
from ptycho_dist.data.npz import DAMAGE_ERRORS, Member, NpzReader
from ptycho_dist.errors import DataError, in_one_line

MOST_BYTES = 64 * 2**30
"""Largest decompressed size of a source; it is kept on disk, never in memory."""
MOST_PROBE_BYTES = 4 * 2**30
"""Largest size of the probe, which unlike the patterns is held in memory."""

_KEYS = ("data", "probe", "scan")
_READ_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 24  # size of the patterns held at once, as float64
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_BZIP2_MAGIC = b"BZh"


@dataclass(frozen=True, eq=False)
class TikeScan:
    """An open scan in tike's layout.

    Attributes:
        path: Path of the file, as given.
        sha256: SHA-256 of the file, before any decompression.
        n_patterns: Number M of patterns.
        size: H, rows and columns of a pattern in pixels.
        probe_PHW: (P, H, H) complex, as stored.
        y_px, x_px: (M,) float64, rows and columns, from the origin of the file.
    """

    path: Path
    sha256: str
    n_patterns: int
    size: int
    probe_PHW: np.ndarray
    y_px: np.ndarray
    x_px: np.ndarray
    _archive: zipfile.ZipFile
    _member: Member

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield all patterns in blocks, in FFT order.

        Yields:
            The index of the first pattern of the block, and the patterns, (m, H, H) float64 counts.

        Raises:
            DataError: The file is damaged, or a value is negative or not finite; then the message
                names the first such pattern of the block.
        """
        frame_bytes = self.size**2 * self._member.dtype.itemsize
        at_once = max(1, _BLOCK_BYTES // (self.size**2 * 8))
        name = f"{self._member.key}.npy"
        header_bytes = self._archive.getinfo(name).file_size - self.n_patterns * frame_bytes
        try:
            with self._archive.open(name) as stream:
                stream.read(header_bytes)
                for first in range(0, self.n_patterns, at_once):
                    shape = (min(at_once, self.n_patterns - first), self.size, self.size)
                    raw = np.frombuffer(stream.read(shape[0] * frame_bytes), self._member.dtype)
                    counts_MHW = raw.reshape(shape).astype(np.float64)
                    _require_counts(counts_MHW, first, f"{self.path}: data")
                    yield first, counts_MHW
                stream.read(1)  # the CRC is compared when the end of the member is reached
        except DAMAGE_ERRORS as error:
            raise _damaged(self.path, error) from error


@contextlib.contextmanager
def open_tike(path: Path, scratch: Path) -> Iterator[TikeScan]:
    """Open a scan; a file compressed by bzip2 is unpacked to an unnamed file in `scratch`.

    Raises:
        DataError: The file cannot be read, has another format, or unpacks to more than MOST_BYTES;
            or its keys, shapes, dtypes, positions or probe do not fit the layout.
    """
    with contextlib.ExitStack() as stack:
        try:
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
            sha256 = _sha256(stream)
            compressed = _begins_with(stream, _BZIP2_MAGIC)
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        if compressed:
            stream = stack.enter_context(_unpacked(stream, path, scratch))
        if _begins_with(stream, _HDF5_MAGIC):
            raise DataError(
                f"{path} is an HDF5 file (CXI, NeXus), but convert reads only tike's .npz layout "
                f"({', '.join(_KEYS)}); near-field data do not fit any model here"
            )
        try:
            archive = stack.enter_context(zipfile.ZipFile(stream))
        except DAMAGE_ERRORS as error:
            raise DataError(
                f"{path}: not an .npz or .npz.bz2 file, or truncated ({in_one_line(error)}): "
                "copy or export it again"
            ) from error
        npz = NpzReader(path, archive)
        member = _pattern_member(npz)
        count, size = member.shape[-3:-1]
        y_px, x_px = _positions(npz, count)
        probe_PHW = _probe(npz, size)
        yield TikeScan(path, sha256, count, size, probe_PHW, y_px, x_px, archive, member)


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_READ_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _begins_with(stream: IO[bytes], magic: bytes) -> bool:
    stream.seek(0)
    found = stream.read(len(magic)) == magic
    stream.seek(0)
    return found


@contextlib.contextmanager
def _unpacked(compressed: IO[bytes], path: Path, scratch: Path) -> Iterator[IO[bytes]]:
    """Unpack a bzip2 file to a file without a name, which no crash can leave behind."""
    with contextlib.ExitStack() as stack:
        try:
            unnamed = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
            unpacking = stack.enter_context(bz2.BZ2File(compressed))
            while chunk := _next_chunk(unpacking, path):
                if unnamed.tell() + len(chunk) > MOST_BYTES:
                    raise DataError(
                        f"{path} unpacks to more than {MOST_BYTES} bytes, which is not allowed: "
                        "split the scan"
                    )
                unnamed.write(chunk)
            unnamed.flush()
        except OSError as error:
            raise DataError(
                f"{scratch}: cannot hold what {path.name} unpacks to ({error.strerror or error})"
            ) from error
        yield unnamed


def _next_chunk(unpacking: bz2.BZ2File, path: Path) -> bytes:
    try:
        return unpacking.read(_READ_BYTES)
    except (OSError, EOFError, ValueError) as error:
        raise _damaged(path, error) from error


def _pattern_member(npz: NpzReader) -> Member:
    missing = [key for key in _KEYS if key not in npz.keys]
    if missing:
        held = ", ".join(sorted(npz.keys)) or "no array"
        raise DataError(
            f"{npz.path}: {', '.join(missing)} missing (the file holds {held}): convert reads "
            f"tike's layout ({', '.join(_KEYS)})"
        )
    member, what = npz.member("data"), f"{npz.path}: data"
    shape = member.shape
    if member.dtype.hasobject:
        raise DataError(f"{what} is an array of Python objects, which is never unpickled")
    if member.dtype.kind not in "fiu":
        raise DataError(f"{what} has dtype {member.dtype}: counts must be real numbers")
    if len(shape) == 4 and shape[0] > 1:
        raise DataError(f"{what} has {shape[0]} angles, shape {shape}: save each as its own scan")
    if len(shape) not in (3, 4) or shape[-1] != shape[-2] or 0 in shape:
        raise DataError(
            f"{what} has shape {shape}, but (1, M, N, N) or (M, N, N) is needed: one square "
            "pattern for each position"
        )
    if member.fortran_order:
        raise DataError(f"{what} is in Fortran order: save numpy.ascontiguousarray of it")
    _require_at_most(MOST_BYTES, member, what)
    return member


def _positions(npz: NpzReader, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the positions y and x, each (M,) float64 px."""
    member, what = npz.member("scan"), f"{npz.path}: scan"
    if member.shape not in ((1, count, 2), (count, 2)) or member.dtype.kind not in "fiuO":
        raise DataError(
            f"{what} has shape {member.shape} and dtype {member.dtype}, but {count} patterns need "
            f"(1, {count}, 2) or ({count}, 2): row and column of each, px"
        )
    scan_M2 = npz.read("scan").reshape(count, 2).astype(np.float64)
    require_finite(scan_M2, what)
    return scan_M2[:, 0].copy(), scan_M2[:, 1].copy()


def _probe(npz: NpzReader, size: int) -> np.ndarray:
    """Read the probe, (P, H, H), in the dtype of the file."""
    member, what = npz.member("probe"), f"{npz.path}: probe"
    shape = member.shape
    if shape[-2:] != (size, size) or 0 in shape or any(length > 1 for length in shape[:-3]):
        raise DataError(
            f"{what} has shape {shape}, but the patterns need (..., P, {size}, {size}), with 1 for "
            "all but the last three axes"
        )
    if member.dtype.kind not in "cO":
        raise DataError(f"{what} has dtype {member.dtype}: the probe must be complex (complex64)")
    _require_at_most(MOST_PROBE_BYTES, member, what)
    probe_PHW = npz.read("probe").reshape(-1, size, size)
    with np.errstate(over="ignore"):
        require_finite(probe_PHW.astype(np.complex64), what)
    if not probe_PHW.any():
        raise DataError(f"{what} is zero everywhere: give the illumination of the scan")
    require_centred(np.abs(probe_PHW), what)
    return probe_PHW


def _require_at_most(most_bytes: int, member: Member, what: str) -> None:
    held = member.dtype.itemsize * int(np.prod(member.shape, dtype=object))
    if held > most_bytes:
        raise DataError(f"{what} has {held} bytes, but at most {most_bytes} are allowed: save less")


def _require_counts(counts_MHW: np.ndarray, first: int, what: str) -> None:
    low_M, high_M = counts_MHW.min(axis=(-2, -1)), counts_MHW.max(axis=(-2, -1))
    for fault_M, words in (
        # NaN fails every comparison
        (~(high_M < np.finfo(np.float32).max), "a value that is not finite: mask such pixels to 0"),
        (low_M < 0, "a negative value: counts are needed; clip after background subtraction"),
    ):
        if fault_M.any():
            raise DataError(f"{what}, pattern {first + int(np.argmax(fault_M))}, has {words}")


def _damaged(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} is damaged ({in_one_line(error)}): copy or export the file again")
