"""Reading members of an `.npz` container without trusting it.

An `.npz` is a zip of `.npy` members. Nothing is ever unpickled, every member that is read to its
end has its CRC checked, and whatever is wrong becomes one `DataError` that names file and key.
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

from ptycho_dist.errors import DataError

_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    NotImplementedError,  # a compression method that this Python does not have
    RuntimeError,  # an encrypted member
)


@dataclass(frozen=True)
class Member:
    """What the `.npy` header of one array says: shape, dtype, and the order of its axes on disk."""

    key: str
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype


class NpzReader:
    """The arrays of one open `.npz`, by key. Made by `open_npz`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        self.keys = tuple(
            name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")
        )

    def member(self, key: str) -> Member:
        """Shape and dtype of the array `key`, from its header alone.

        Raises DataError when the header is unreadable, or promises another number of bytes than
        the member holds.
        """
        with self._stream(key) as stream:
            return self._header(key, stream)

    def read(self, key: str) -> np.ndarray:
        """The whole array `key`; its CRC is checked.

        Raises DataError for object arrays (they would have to be unpickled) and for damage.
        """
        self._refuse_objects(self.member(key))
        with self._stream(key) as stream:
            array: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
            stream.read(1)  # the CRC is compared when the end of the member is reached
        return array

    def leading(self, member: Member, *, frame_axis: int, count: int) -> np.ndarray:
        """The first `count` frames of a 3-D array along `frame_axis` (0 or 2), frames first.

        Only as much is read and decompressed as the place of the frames on disk demands: the
        leading frames when frames are the slowest axis, otherwise the member is passed through
        once, one slab at a time. The CRC is not checked, as the end is not always reached.

        Returns shape (min(count, frames), rows, columns), in the dtype of the file.
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
        """Pass every member through its CRC once, keeping nothing.

        Raises DataError naming the first damaged one.
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
                raise ValueError(f"its header promises {promised} bytes and it holds {held}")
        return member

    @contextmanager
    def _stream(self, key: str) -> Iterator[IO[bytes]]:
        try:
            with self._archive.open(f"{key}.npy") as stream:
                yield stream
        except (*_DAMAGE, OSError) as error:
            raise DataError(
                f"{self.path}: {key} is damaged ({_one_line(error)}): copy or export the file again"
            ) from error


@contextmanager
def open_npz(path: Path) -> Iterator[NpzReader]:
    """Open `path` for reading by key.

    Raises DataError when the file is missing, unreadable, not a zip, or truncated.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    except _DAMAGE as error:
        raise DataError(
            f"{path}: not an .npz file, or truncated ({_one_line(error)}): "
            "copy or export the file again"
        ) from error
    with archive:
        yield NpzReader(path, archive)


def _exactly(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    wanted = dtype.itemsize * int(np.prod(shape))
    data = stream.read(wanted)
    if len(data) != wanted:
        raise EOFError(f"{wanted} bytes wanted, {len(data)} left")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
