"""Copy data files to a node's own disk; copies are private, verified, and reused while intact."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ptycho_dist.data.fingerprint import data_fingerprint
from ptycho_dist.errors import DataError, RunError, UserError
from ptycho_dist.rundir.files import read_json, write_json_atomic

CHUNK_BYTES = 8 * 2**20
SYNC_BYTES = 2**30
"""Bytes written between two syncs; few enough that the heartbeat does not seem to stall."""
WITHOUT = "leave it out: ptycho-launch resume RUN --set data.stage_to=null"
_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")


@dataclass
class StagedFiles:
    """Copies of the data files on the disk of a node."""

    folder: Path
    files: dict[str, Path] = field(default_factory=dict)
    """Copy of the file that each field of `data` names."""
    copied_bytes: int = 0
    reused_bytes: int = 0
    damaged: list[str] = field(default_factory=list)
    """Names of earlier copies that were damaged and were made again."""


def place_on_this_node(text: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Expand the variables of `data.stage_to` as plain text and return the directory it names here.

    Raises:
        RunError: A variable is not set, or the path is not an absolute path of a directory.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if not environ.get(name):
            raise RunError(f"data.stage_to: {text}: {name} is not set on this node; {WITHOUT}")
        return environ[name]

    filled = _VARIABLE.sub(value, text)
    if "$" in _VARIABLE.sub("", text):
        raise RunError(f"data.stage_to: {text}: only $NAME and ${{NAME}} are expanded; {WITHOUT}")
    path = Path(filled)
    if not path.is_absolute() or "\0" in filled:
        raise RunError(f"data.stage_to: {text} is {filled!r} here, not an absolute path; {WITHOUT}")
    if not path.is_dir():
        raise RunError(f"data.stage_to: {text}: no directory {filled} on this node; {WITHOUT}")
    return path


def folder_of_run(place: Path, run: Path, node: str) -> Path:
    """Return the folder for the copies of a run; several nodes of one host share `place`."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", run.name)[:80]
    digest = hashlib.sha256(f"{run}\0{node}".encode(errors="surrogateescape")).hexdigest()[:12]
    return place / f"ptycho-dist-{name}-{digest}"


def stage_files(
    sources: Mapping[str, Path],
    fingerprints: Mapping[str, str],
    folder: Path,
    between: Callable[[], None],
) -> StagedFiles:
    """Copy files into a private folder and compare their checksums; one process per node does so.

    Args:
        sources: File of each field of `data`.
        fingerprints: Fingerprint of the file of each field; files with equal ones share one copy.
        folder: Folder to make; a copy of an earlier attempt is reused if its checksum matches.
        between: Called between two chunks; an error that it raises ends the copying.

    Raises:
        DataError: A file cannot be read or changes during the copy.
        RunError: The folder is not private, has too little space, or returns other bytes than were
            written.
    """
    with _refusals_of(folder):
        _make_private(folder)
        try:
            return _stage(sources, fingerprints, folder, between)
        except BaseException:
            remove_staged(folder)
            raise


def _stage(
    sources: Mapping[str, Path],
    fingerprints: Mapping[str, str],
    folder: Path,
    between: Callable[[], None],
) -> StagedFiles:
    staged = StagedFiles(folder)
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)
    missing: dict[Path, str] = {}
    for name in sources:
        copy = folder / f"{fingerprints[name]}.npz"
        if copy not in staged.files.values() and not _keep_whole(copy, staged, between):
            missing[copy] = name
        staged.files[name] = copy
    _require_room(folder, {name: sources[name] for name in missing.values()})
    for copy, name in missing.items():
        _copy(sources[name], copy, fingerprints[name], between)
        staged.copied_bytes += copy.stat().st_size
    return staged


def remove_staged(folder: Path) -> None:
    """Remove the copies of a run on this node."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _refusals_of(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"data.stage_to: {folder}: {error.strerror}; make room, choose another place, or "
            f"{WITHOUT}"
        ) from None


def _make_private(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not mine or found.st_mode & 0o077:
        raise RunError(
            f"data.stage_to: {folder} exists but is not a private directory of yours (mode 0700); "
            f"remove it, or {WITHOUT}"
        )


def _keep_whole(copy: Path, staged: StagedFiles, between: Callable[[], None]) -> bool:
    """Whether an intact earlier copy exists; a damaged one is removed."""
    record = _record_of(copy)
    if not copy.exists() and not record.exists():
        return False
    with suppress(UserError, OSError):
        known = read_json(record)
        if isinstance(known, dict) and known.get("sha256") == _sha256(copy, between):
            staged.reused_bytes += copy.stat().st_size
            return True
    staged.damaged.append(copy.name)
    copy.unlink(missing_ok=True)
    record.unlink(missing_ok=True)
    return False


def _require_room(folder: Path, sources: Mapping[str, Path]) -> None:
    sizes = {}
    for name, source in sources.items():
        with _reading(source):
            sizes[name] = source.stat().st_size
    free, needed = shutil.disk_usage(folder).free, sum(sizes.values())
    if needed > free:
        raise RunError(
            f"data.stage_to: {folder.parent} has {_size(free)} free, but {' and '.join(sizes)} "
            f"need {_size(needed)}; make room, choose another place, or {WITHOUT}"
        )


def _copy(source: Path, copy: Path, fingerprint: str, between: Callable[[], None]) -> None:
    draft = copy.with_name(f".{copy.name}.{secrets.token_hex(4)}.tmp")
    try:
        read = _copy_bytes(source, draft, between)
        if _sha256(draft, between) != read:
            raise RunError(
                f"data.stage_to: {copy.parent}: the copy of {source} differs from "
                f"what was written; this disk cannot be trusted; choose another place, or {WITHOUT}"
            )
        if data_fingerprint(draft) != fingerprint:
            raise DataError(f"{source}: changed while it was being copied; submit a new run")
        draft.rename(copy)
    finally:
        draft.unlink(missing_ok=True)
    write_json_atomic(_record_of(copy), {"sha256": read, "source": os.fspath(source)})


def _copy_bytes(source: Path, draft: Path, between: Callable[[], None]) -> str:
    digest, unsynced = hashlib.sha256(), 0
    with _reading(source):
        reader = source.open("rb", buffering=0)
    new = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with reader:
            while True:
                with _reading(source):
                    chunk = reader.read(CHUNK_BYTES)
                if not chunk:
                    break
                digest.update(chunk)
                rest = memoryview(chunk)
                while rest:
                    rest = rest[os.write(new, rest) :]
                unsynced += len(chunk)
                if unsynced >= SYNC_BYTES:
                    os.fdatasync(new)
                    unsynced = 0
                between()
        os.fsync(new)
        # so that the comparison reads from the disk, if the system supports this
        os.posix_fadvise(new, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(new)
    return digest.hexdigest()


def _sha256(path: Path, between: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            between()
    return digest.hexdigest()


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    """Turn an error of the source into a DataError, as it is not a fault of `data.stage_to`."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{source}: cannot be read: {error.strerror}") from None


def _record_of(copy: Path) -> Path:
    return copy.with_suffix(".json")


def _size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**30 else f"{count / 2**20:.2f} MiB"
