"""Files that are either whole or not there."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from ptycho_dist.errors import UserError


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write beside the target, fsync, rename, fsync the directory: a reader sees old or new."""
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
    """Make a rename in `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_bytes(data: Any) -> bytes:
    """Indented JSON for a file that a person may open; NaN and infinity are refused."""
    return (json.dumps(data, indent=2, allow_nan=False) + "\n").encode()


def write_json_atomic(path: Path, data: Any) -> None:
    """`write_bytes_atomic` of `json_bytes`."""
    write_bytes_atomic(path, json_bytes(data))


def read_json(path: Path) -> Any:
    """The JSON in a file of a run directory.

    Raises:
        UserError: it is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; not a complete run directory") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None
