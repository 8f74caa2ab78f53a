"""Finds out whether a directory can hold runs: `python -m launcher.doctor.storage_probe DIR`.

Prints JSON. It is a program of its own because a dead file server blocks whoever asks it.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launcher.doctor.mounts import mount_of


def probe(directory: Path) -> dict[str, Any]:
    """Report the kind of file system, the free space, and what works there; leave nothing behind.

    Args:
        directory: need not exist; then its nearest parent is examined.
    """
    asked = directory.absolute()
    while not directory.absolute().is_dir():
        directory = directory.absolute().parent
    directory = directory.absolute()
    space = os.statvfs(directory)
    found: dict[str, Any] = {
        "directory": str(asked),
        "looked at": str(directory),
        "file system": _file_system(directory.resolve()),
        "free": f"{space.f_bavail * space.f_frsize / 1e9:.1f} GB",
        "free inodes": space.f_favail if space.f_files else "not counted",
    }
    try:
        with tempfile.TemporaryDirectory(dir=directory, prefix=".ptycho-doctor-") as folder:
            place = Path(folder)
            for name, work in _WORKS.items():
                found[name] = _tried(work, place)
    except OSError as error:
        found["write"] = f"fails: {error.strerror}"
    return found


def _file_system(path: Path) -> str:
    mount = mount_of(path)
    if mount is None:
        return "unknown"
    return f"{mount.kind} at {mount.point} (from {mount.source})"


def _write(place: Path) -> None:
    (place / "a").write_bytes(b"x" * 65536)


def _fsync(place: Path) -> None:
    for path in (place / "a", place):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _rename(place: Path) -> None:
    (place / "b").write_text("old")
    (place / "a").replace(place / "b")
    if (place / "a").exists() or (place / "b").stat().st_size != 65536:
        raise OSError(0, "the old file is still there")


def _lock(place: Path) -> None:
    with (place / "b").open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _append(place: Path) -> None:
    with (place / "c").open("ab", buffering=0) as file:
        file.write(b"1\n")
        file.write(b"2\n")
    if (place / "c").read_bytes() != b"1\n2\n":
        raise OSError(0, "the appended bytes are missing")


_WORKS: dict[str, Callable[[Path], None]] = {
    "write": _write,
    "fsync": _fsync,
    "rename over a file": _rename,
    "lock": _lock,
    "append": _append,
}
"""In order: each step uses the files of the steps before."""


def _tried(work: Callable[[Path], None], place: Path) -> str:
    began = time.perf_counter()
    try:
        work(place)
    except OSError as error:
        return f"fails: {error.strerror}"
    return f"works, {1e3 * (time.perf_counter() - began):.1f} ms"


if __name__ == "__main__":
    print(json.dumps(probe(Path(sys.argv[1]))))
