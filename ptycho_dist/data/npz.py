"""Read members of an `.npz` container without trusting it.

An `.npz` is a zip of `.npy` members. Nothing is unpickled, the CRC of every member that is read to
its end is checked, and every fault becomes one `DataError` that names file and key.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ptycho_dist.errors import DataError, in_one_line

DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,  # a compression method that this Python does not have
    RuntimeError,  # an encrypted member
    OSError,
)
"""What reading a damaged archive raises."""


@dataclass(frozen=True)
class Member:
    """The `.npy` header of one array: shape, dtype, and the order of its axes on disk."""

    key: str
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype


class NpzReader:
    """The arrays of one open `.npz`, by key; made by `open_npz`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self.keys = tuple(
            name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
        )

    def member(self, key: str) -> Member:
        """Read shape and dtype of the array `key` from its header alone.

        Raises:
            DataError: The header is unreadable, or its size differs from that of the member.
        """
        with self._stream(key) as stream:
            return self._header(key, stream)

    def read(self, key: str) -> np.ndarray:
        """Read the whole array `key` and check its CRC.

        Raises:
            DataError: The array holds Python objects, which would have to be unpickled, or is
                damaged.
        """
        self._refuse_objects(self.member(key))
        with self._stream(key) as stream:
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            stream.read(1)  # the CRC is compared when the end of the member is reached
        return array

    def leading(self, member: Member, *, frame_axis: int, count: int) -> np.ndarray:
        """Read the first frames of a 3-D array.

        If frames are the slowest axis on disk, only the leading frames are read and decompressed;
        otherwise the member is passed through once, one slab at a time. The CRC is not checked,
        because the end is not always reached.

        Args:
            member: The array.
            frame_axis: The axis that counts the frames, 0 or 2.
            count: Number of frames.

        Returns:
            (min(count, frames), rows, columns), in the dtype of the file.
        """
        self._refuse_objects(member)
        disk_shape = member.shape[::-1] if member.fortran_order else member.shape
        disk_axis = 2 - frame_axis if member.fortran_order else frame_axis
        count = min(count, member.shape[frame_axis])
        with self._stream(member.key) as stream:
            self._header(member.key, stream)
            if disk_axis == 0:
                frames = _exactly(stream, (count, *disk_shape[1:]), member.dtype)
            else:
                slabs = [
                    _exactly(stream, disk_shape[1:], member.dtype)[:, :count].copy()
                    for _ in range(disk_shape[0])
                ]
                frames = np.moveaxis(np.stack(slabs), 2, 0)
        return frames.swapaxes(1, 2) if member.fortran_order else frames

    def require_undamaged(self) -> None:
        """Check the CRC of every member without keeping any data.

        Raises:
            DataError: A member is damaged; the message names the first one.
        """
        for key in self.keys:
            with self._stream(key) as stream:
                while stream.read(1 << 20):
                    pass

    def _refuse_objects(self, member: Member) -> None:
        if member.dtype.hasobject:
            raise DataError(
                f"{self.path}: {member.key} is an array of Python objects, which is never "
                "unpickled: save it again as a numeric array"
            )

    def _header(self, key: str, stream: IO[bytes]) -> Member:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise ValueError(f"npy format version {version}")
        member = Member(key, shape, fortran_order, dtype)
        if not dtype.hasobject:
            promised = stream.tell() + dtype.itemsize * int(np.prod(shape, dtype=object))
            held = self._archive.getinfo(f"{key}.npy").file_size
            if promised != held:
                raise ValueError(f"its header promises {promised} bytes but it holds {held}")
        return member

    @contextmanager
    def _stream(self, key: str) -> Iterator[IO[bytes]]:
        try:
            with self._archive.open(f"{key}.npy") as stream:
                yield stream
        except DAMAGE_ERRORS as error:
            raise DataError(
                f"{self.path}: {key} is damaged ({in_one_line(error)}): "
                "copy or export the file again"
            ) from error


@contextmanager
def open_npz(path: Path) -> Iterator[NpzReader]:
    """Open `path` for reading by key.

    Raises:
        DataError: The file is missing, unreadable, truncated, or not a zip file.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except DAMAGE_ERRORS as error:
        raise DataError(
            f"{path}: not an .npz file, or truncated ({in_one_line(error)}): "
            "copy or export the file again"
        ) from error
    with archive:
        yield NpzReader(path, archive)


def _exactly(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    wanted = dtype.itemsize * int(np.prod(shape))
    data = stream.read(wanted)
    if len(data) != wanted:
        raise EOFError(f"{wanted} bytes expected, {len(data)} found")
    return np.frombuffer(data, dtype=dtype).reshape(shape)
