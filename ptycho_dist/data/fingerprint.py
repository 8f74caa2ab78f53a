"""A fingerprint that shows whether a data file has changed, without reading its arrays."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

from ptycho_dist.errors import DataError, in_one_line


def data_fingerprint(path: Path) -> str:
    """Compute the identity of the content of an NPZ file, 32 hexadecimal digits.

    It is a SHA-256 over name, CRC-32 and size of each member in the zip's directory; the order of
    the members and their compression do not matter. It does not detect damage that leaves the
    directory intact (the CRCs are verified when the arrays are read) or a deliberate change that
    keeps size and CRC-32.

    Raises:
        DataError: The file cannot be read or is not a zip file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted((m.filename, m.CRC, m.file_size) for m in archive.infolist())
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise DataError(f"{path}: cannot be read as an .npz file: {in_one_line(error)}") from None
    return hashlib.sha256(repr(members).encode()).hexdigest()[:32]
