"""Whether a data file is still the same one, without reading its arrays."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

from ptycho_dist.errors import DataError


def data_fingerprint(path: Path) -> str:
    """Identity of an NPZ file by content: 32 hexadecimal digits.

    SHA-256 over name, CRC-32 and size of each member, as the zip's directory states them; the
    order of the members does not count, nor does how they are compressed. Not caught: damage to
    the data that leaves the directory as it was (the CRCs are verified when the arrays are read),
    and a change made on purpose so that size and CRC-32 stay the same.

    Raises:
        DataError: the file cannot be read, or is no zip.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted((m.filename, m.CRC, m.file_size) for m in archive.infolist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as an .npz file: {reason}") from None
    return hashlib.sha256(repr(members).encode()).hexdigest()[:32]
