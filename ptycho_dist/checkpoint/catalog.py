"""Which checkpoints a run has, and which is the newest whole one. Torch-free.

A checkpoint is a directory `step-NNNNNNNN` that appears by one rename, with a manifest of the
checksums of its files (specs/run_directory.md, RD-040 to RD-044).
"""

from __future__ import annotations

import hashlib
import math
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory

MANIFEST = "manifest.json"
STATE = "state.ckpt"
_NAME = re.compile(r"step-(\d{8,})")
_SET_ASIDE = re.compile(r"\.(step-(\d{8,}))\.[0-9a-f]+\.replaced")


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint, whole or not.

    Its path is `step-NNNNNNNN`, or the hidden name under which it was set aside by a writer that
    was killed before the one that replaces it came into its place.
    """

    path: Path
    step: int

    @property
    def state(self) -> Path:
        """What torch reads."""
        return self.path / STATE

    def manifest(self) -> dict[str, Any]:
        """What rank 0 wrote when it committed the checkpoint."""
        manifest: dict[str, Any] = read_json(self.path / MANIFEST)
        return manifest

    @property
    def value(self) -> float | None:
        """The monitored value of the epoch that it ends; None: it ends none, or is damaged."""
        try:
            value = self.manifest().get("value")
        except (UserError, AttributeError):
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if math.isfinite(value) else None

    def fault(self) -> str | None:
        """Why this checkpoint cannot be used, all its bytes read; None: it is whole."""
        return self._fault(read_all=True)

    def size_fault(self) -> str | None:
        """`fault` as far as manifest and sizes tell; no byte of the state is read."""
        return self._fault(read_all=False)

    def _fault(self, *, read_all: bool) -> str | None:
        try:
            files = self.manifest()["files"]
            for name, expected in files.items():
                path = self.path / Path(name).name
                if path.stat().st_size != expected["bytes"]:
                    return f"{name}: {path.stat().st_size} bytes, {expected['bytes']} were written"
                if read_all and sha256_of(path) != expected["sha256"]:
                    return f"{name}: checksum differs"
        except (UserError, OSError, KeyError, TypeError, AttributeError) as error:
            return " ".join(str(error).split()) or type(error).__name__
        return None if STATE in files else f"the manifest names no {STATE}"


def checkpoint_name(step: int) -> str:
    """The directory of the checkpoint at an optimizer step."""
    return f"step-{step:08d}"


def committed(run: RunDirectory) -> list[Checkpoint]:
    """All checkpoints that were committed, oldest first.

    One that was set aside to be replaced counts as long as nothing is in its place.

    Raises:
        UserError: the run directory has no folder of checkpoints, or it cannot be read.
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
    """The newest checkpoint whose checksums hold, and why newer ones were passed over.

    Where none is found and the catalogue changed meanwhile (the run is at work and removes what
    was listed), it is read again.

    Returns:
        (checkpoint, reasons); (None, []) where none was ever committed.

    Raises:
        UserError: some were committed and all are damaged (a run never starts from zero then), or
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
    """Those of epochs' ends that are not hurt as far as sizes tell, by their monitored values."""
    valued = [
        (value, checkpoint)
        for checkpoint in checkpoints
        if (value := checkpoint.value) is not None and checkpoint.size_fault() is None
    ]
    sign = 1 if mode == "min" else -1
    return [found for value, found in sorted(valued, key=lambda p: (sign * p[0], p[1].step))]


def best_whole(run: RunDirectory, mode: Literal["min", "max"]) -> Checkpoint | None:
    """The best checkpoint whose checksums hold; None: no epoch's end is committed and whole.

    Raises:
        UserError: the folder of checkpoints cannot be read.
    """
    candidates = best_first(committed(run), mode)
    return next((found for found in candidates if found.fault() is None), None)


def sweep(run: RunDirectory) -> None:
    """Clear away what a kill in the middle of writing or removing a checkpoint has left behind.

    A checkpoint that was set aside and not replaced any more comes back to its place. To be
    called by rank 0 when its attempt has joined: no other attempt may commit then.

    Raises:
        UserError: the folder of checkpoints cannot be read or written.
    """
    try:
        for path in list(run.checkpoints.iterdir()):
            if not (path.name.startswith(".step-") and path.is_dir()):
                continue
            match = _SET_ASIDE.fullmatch(path.name)
            if match and not path.with_name(match[1]).exists():
                path.rename(path.with_name(match[1]))
            else:
                shutil.rmtree(path, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{run.checkpoints}: cannot be cleared: {error.strerror}") from None


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
