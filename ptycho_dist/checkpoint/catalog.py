"""Which checkpoints a run has, and which is the newest whole one. Torch-free.

A checkpoint is a directory `step-NNNNNNNN` that appears by one rename, with a manifest of the
checksums of its files (specs/run_directory.md, RD-040 to RD-044).
"""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.layout import RunDirectory

MANIFEST = "manifest.json"
STATE = "state.ckpt"
_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Checkpoint:
    """A committed checkpoint, whole or not."""

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

    def fault(self) -> str | None:
        """Why this checkpoint cannot be used; None: it is whole."""
        try:
            files = self.manifest()["files"]
            for name, expected in files.items():
                path = self.path / Path(name).name
                if path.stat().st_size != expected["bytes"]:
                    return f"{name}: {path.stat().st_size} bytes, {expected['bytes']} were written"
                if sha256_of(path) != expected["sha256"]:
                    return f"{name}: checksum differs"
        except (UserError, OSError, KeyError, TypeError, AttributeError) as error:
            return " ".join(str(error).split()) or type(error).__name__
        return None if STATE in files else f"the manifest names no {STATE}"


def checkpoint_name(step: int) -> str:
    """The directory of the checkpoint at an optimizer step."""
    return f"step-{step:08d}"


def committed(run: RunDirectory) -> list[Checkpoint]:
    """All checkpoints that were committed, oldest first."""
    found = []
    for path in run.checkpoints.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir():
            found.append(Checkpoint(path, int(match[1])))
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def newest_whole(run: RunDirectory) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint whose checksums hold, and why newer ones were passed over.

    Returns:
        (checkpoint, reasons); (None, []) where none was ever committed.

    Raises:
        UserError: some were committed and all are damaged: a run never starts from zero then.
    """
    reasons: list[str] = []
    for checkpoint in reversed(committed(run)):
        fault = checkpoint.fault()
        if fault is None:
            return checkpoint, reasons
        reasons.append(f"{checkpoint.path.name}: {fault}")
    if reasons:
        raise UserError(
            f"{run.checkpoints}: every checkpoint is damaged ({'; '.join(reasons)}); "
            "restore one, or submit the config as a new run"
        )
    return None, []


def sweep(run: RunDirectory) -> None:
    """Remove what a kill in the middle of writing or removing a checkpoint has left behind.

    To be called by rank 0 when its attempt has joined: no other attempt may commit then.
    """
    for path in run.checkpoints.iterdir():
        if path.name.startswith(".step-") and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
