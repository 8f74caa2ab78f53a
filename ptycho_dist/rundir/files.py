"""Atomic writing and bounded reading of files in a run directory."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from ptycho_dist.errors import UserError

MOST_BYTES = 2**26
"""Largest file that is read as a whole; the files of the largest arrays have a few MB."""


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Replace a file durably; a reader sees either the old or the new content."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    """Make a rename in the directory `path` survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_bytes(data: Any) -> bytes:
    """Encode as indented JSON, readable for people; NaN and infinity raise ValueError."""
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def write_json_atomic(path: Path, data: Any) -> None:
    """Replace a file by JSON, as `write_bytes_atomic` does."""
    write_bytes_atomic(path, json_bytes(data))


def read_bytes(path: Path | str) -> bytes:
    """Read a file of a run directory.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read, or is larger than MOST_BYTES.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - `list` reads thousands of files
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: is larger than {MOST_BYTES >> 20} MiB; the file is damaged")
    return content


def load_json(path: Path | str) -> Any:
    """Read a JSON file of a run directory.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it cannot be read or is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}; the file is damaged") from None


def read_json(path: Path) -> Any:
    """Read a JSON file that every run directory has.

    Raises:
        UserError: it is missing, cannot be read or is not JSON.
    """
    try:
        return load_json(path)
    except FileNotFoundError:
        raise not_a_run(path) from None


def not_a_run(path: Path) -> UserError:
    """Return the error for a missing file that every run directory has."""
    return UserError(f"{path}: no such file; its directory is not a complete run directory")
