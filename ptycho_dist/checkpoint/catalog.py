"""The checkpoints of a run, and the newest whole one among them. Torch-free.

A checkpoint is a directory `step-NNNNNNNN` that appears by one rename. Its manifest holds the
checksums of its files (specs/run_directory.md, RD-040 to RD-044).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptycho_dist.checkpoint.manifest import (
    ended_epoch_in,
    manifest_checksum,
    one_line,
    value_in,
)
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import count
from ptycho_dist.rundir.layout import RunDirectory

MANIFEST = "manifest.json"
STATE = "state.ckpt"
_NAME = re.compile(r"step-(\d{8,})")
_SET_ASIDE = re.compile(r"\.(step-(\d{8,}))\.[0-9a-f]+\.replaced")


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint, whole or not.

    Its path is `step-NNNNNNNN`. It is a hidden name instead if a writer set the checkpoint aside
    and was killed before the replacement was in place.
    """

    path: Path
    step: int
    """Optimizer step of the run."""

    @property
    def state(self) -> Path:
        """The file that torch reads."""
        return self.path / STATE

    @property
    def manifest_path(self) -> Path:
        """The file that holds sizes and checksums."""
        return self.path / MANIFEST

    def manifest(self) -> dict[str, Any]:
        """Return the manifest that rank 0 wrote when it committed the checkpoint.

        Raises:
            UserError: it is missing, unreadable or not a JSON object.
        """
        try:
            return self.read_manifest()
        except OSError as error:
            raise UserError(f"{self.manifest_path}: cannot be read: {error.strerror}") from None

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest; unlike `manifest`, distinguish damage from a disk that fails.

        Raises:
            UserError: it is not a JSON object.
            OSError: it is missing, or the disk cannot read it now.
        """
        try:
            manifest = json.loads(self.manifest_path.read_bytes())
        except (ValueError, RecursionError) as error:
            found = one_line(error)
            raise UserError(f"{self.manifest_path}: cannot be read as JSON: {found}") from None
        if not isinstance(manifest, dict):
            raise UserError(f"{self.manifest_path}: a {type(manifest).__name__}, not an object")
        return manifest

    @property
    def value(self) -> float | None:
        """Monitored value of the epoch that it ends; None: it ends none, or is damaged."""
        return value_in(self._entries())

    @property
    def epoch(self) -> int | None:
        """The epoch in which training resumes, counted from 0; None: not stated, or damaged.

        For a checkpoint that ends an epoch this is the number of finished epochs.
        """
        return count(self._entries(), "epoch")

    @property
    def sample(self) -> int | None:
        """Number of samples of that epoch that were used; None: not stated, or damaged."""
        return count(self._entries(), "sample")

    @property
    def ended_epoch(self) -> int | None:
        """The epoch that the checkpoint ends, counted from 1; None: it ends none, or is damaged."""
        return ended_epoch_in(self._entries())

    def _entries(self) -> dict[str, Any]:
        try:
            return self.manifest()
        except UserError:
            return {}

    def fault(self) -> str | None:
        """Read all bytes, and return why this checkpoint cannot be used; None: it is whole."""
        try:
            return self.damage()
        except OSError as error:
            return one_line(error)

    def size_fault(self) -> str | None:
        """Return `fault` judged by manifest and sizes only, without reading the state."""
        try:
            return self.damage(read_all=False)
        except OSError as error:
            return one_line(error)

    def damage(self, *, read_all: bool = True) -> str | None:
        """Return `fault`; unlike `fault`, distinguish damage from a disk that fails.

        Args:
            read_all: whether to read the state and compare its checksum.

        Raises:
            OSError: the disk cannot read the bytes now.
        """
        try:
            manifest = self.read_manifest()
            stated = manifest.get("checksum")
            if stated is not None and stated != manifest_checksum(manifest):
                return f"{MANIFEST}: checksum differs"
            files = manifest["files"]
            for name, expected in files.items():
                path = self.path / Path(name).name
                status = path.stat()
                if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
                    return f"{one_line(name)}: not a file"
                if status.st_size != expected["bytes"]:
                    written = one_line(expected["bytes"])
                    return f"{one_line(name)}: {status.st_size} bytes, {written} were written"
                if read_all and sha256_of(path) != expected["sha256"]:
                    return f"{one_line(name)}: checksum differs"
        except (FileNotFoundError, NotADirectoryError, UserError) as error:
            return one_line(error)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            return f"{MANIFEST}: not as it was written ({one_line(error)})"
        return None if STATE in files else f"the manifest names no {STATE}"


def checkpoint_name(step: int) -> str:
    """Return the name of the directory of the checkpoint at an optimizer step."""
    return f"step-{step:08d}"


def committed(run: RunDirectory) -> list[Checkpoint]:
    """Return all committed checkpoints, oldest first.

    One that was set aside counts as long as its replacement is not in place.

    Raises:
        UserError: the folder of checkpoints is missing or cannot be read.
    """
    in_place: dict[int, Checkpoint] = {}
    set_aside: dict[int, Checkpoint] = {}
    try:
        for path in run.checkpoints.iterdir():
            if (match := _NAME.fullmatch(path.name)) and path.is_dir():
                in_place[int(match[1])] = Checkpoint(path, int(match[1]))
            elif match := _SET_ASIDE.fullmatch(path.name):
                set_aside[int(match[2])] = Checkpoint(path, int(match[2]))
    except OSError as error:
        raise UserError(f"{run.checkpoints}: cannot be read: {error.strerror}") from None
    return sorted((set_aside | in_place).values(), key=lambda checkpoint: checkpoint.step)


def newest_whole(run: RunDirectory) -> tuple[Checkpoint | None, list[str]]:
    """Find the newest checkpoint whose checksums are right, and why newer ones were passed over.

    If none is found and the folder has changed meanwhile, because the run is at work and removes
    old checkpoints, the folder is read again.

    Returns:
        (checkpoint, reasons); (None, []) if none was ever committed.

    Raises:
        UserError: all committed checkpoints are damaged (the run must not start from zero then), or
            the folder cannot be read.
    """
    listed = committed(run)
    while True:
        reasons: list[str] = []
        for checkpoint in reversed(listed):
            fault = checkpoint.fault()
            if fault is None:
                return checkpoint, reasons
            reasons.append(f"{checkpoint_name(checkpoint.step)}: {fault}")
        before, listed = listed, committed(run)
        if listed == before:
            break
    if reasons:
        raise UserError(
            f"{run.checkpoints}: every checkpoint is damaged ({'; '.join(reasons)}); "
            "restore one, or submit the config as a new run"
        )
    return None, []


def best_first(checkpoints: Iterable[Checkpoint], mode: Literal["min", "max"]) -> list[Checkpoint]:
    """Return the checkpoints that end epochs and have the right sizes, the best first."""
    valued = [
        (value, checkpoint)
        for checkpoint in checkpoints
        if (value := checkpoint.value) is not None and checkpoint.size_fault() is None
    ]
    return ranked(valued, mode)


def ranked(
    valued: Iterable[tuple[float, Checkpoint]], mode: Literal["min", "max"]
) -> list[Checkpoint]:
    """Sort checkpoints by their monitored values, the best first; of equal ones the older first."""
    sign = 1 if mode == "min" else -1
    return [found for _, found in sorted(valued, key=lambda p: (sign * p[0], p[1].step))]


def best_whole(run: RunDirectory, mode: Literal["min", "max"]) -> Checkpoint | None:
    """Return the best checkpoint whose checksums are right; None: no whole one ends an epoch.

    Raises:
        UserError: the folder of checkpoints cannot be read.
    """
    candidates = best_first(committed(run), mode)
    return next((found for found in candidates if found.fault() is None), None)


def sweep(run: RunDirectory) -> None:
    """Remove what a kill while a checkpoint was written or removed has left behind.

    A checkpoint that was set aside and not replaced is put back. Rank 0 calls this when its attempt
    has joined, so that no other attempt can commit meanwhile.

    Raises:
        UserError: the folder of checkpoints cannot be read or written.
    """
    try:
        for path in list(run.checkpoints.iterdir()):
            if path.name.startswith(".step-") and path.is_dir() and not put_back(path):
                shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{run.checkpoints}: cannot be cleared: {error.strerror}") from None


def put_back(hidden: Path) -> bool:
    """Put back a checkpoint that was set aside and that nothing has replaced.

    Args:
        hidden: any hidden directory beside the checkpoints.

    Returns:
        Whether it was such a checkpoint.

    Raises:
        OSError: the disk refused the rename.
    """
    match = _SET_ASIDE.fullmatch(hidden.name)
    if match is None or not hidden.exists() or hidden.with_name(match[1]).exists():
        return False
    hidden.rename(hidden.with_name(match[1]))
    return True


def hidden_beside(path: Path, suffix: Literal["tmp", "replaced", "removed"]) -> Path:
    """Return a new hidden name beside a checkpoint, which `committed` ignores unless set aside."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{suffix}")


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
