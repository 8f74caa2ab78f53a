"""How a checkpoint reaches the disk: whole, durable, and only from the attempt in charge."""

from __future__ import annotations

import os
import pickle
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from ptycho_dist.checkpoint.catalog import MANIFEST, STATE, Checkpoint, committed, sha256_of
from ptycho_dist.errors import RunError, UserError
from ptycho_dist.rundir.attempt import Attempt, holds_the_run
from ptycho_dist.rundir.files import fsync_directory, write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory


class SupersededAttempt(RunError):
    """A later attempt has taken the run over; nothing may be committed any more."""


class RunCheckpointIO(CheckpointIO):
    """Lightning's checkpoint writer for a run directory; called on rank 0 alone.

    The files are written and fsynced in a hidden directory beside the target, the manifest of
    their checksums last, and the directory is renamed: the commit point. The attempt's token is
    checked just before.
    """

    def __init__(self, run: RunDirectory, attempt: Attempt, keep: int = 2) -> None:
        self._run = run
        self._attempt = attempt
        self._keep = keep

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Commit one checkpoint, then remove those older than the newest `keep`.

        A checkpoint of the same step is left as it is when this attempt wrote it and it is whole
        (an epoch's end that is also a stop), and replaced otherwise: it may be damaged, or of an
        attempt whose later steps were given up.

        Raises:
            SupersededAttempt: a later attempt has begun.
            OSError: the disk refused; the checkpoints committed before are untouched.
        """
        target = Path(path)
        if self._is_ours_and_whole(target):
            return
        building = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        building.mkdir(mode=0o700)
        try:
            with (building / STATE).open("xb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            manifest = {
                "format": 1,
                "step": checkpoint["global_step"],
                "attempt": self._attempt.number,
                "token": self._attempt.token,
                "files": {
                    STATE: {
                        "sha256": sha256_of(building / STATE),
                        "bytes": (building / STATE).stat().st_size,
                    }
                },
            }
            write_json_atomic(building / MANIFEST, manifest)
            if not holds_the_run(self._run, self._attempt):
                raise SupersededAttempt(
                    f"attempt {self._attempt.number} no longer holds {self._run.run_id}: "
                    f"a later attempt has begun, {target.name} is not committed"
                )
            aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.removed")
            if target.exists():
                target.rename(aside)
            building.rename(target)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        fsync_directory(target.parent)
        shutil.rmtree(aside, ignore_errors=True)
        for old in committed(self._run)[: -self._keep]:
            if old.path != target:  # the newest ones may all be damaged
                self.remove_checkpoint(old.path)

    def _is_ours_and_whole(self, target: Path) -> bool:
        found = Checkpoint(target, -1)
        return (
            target.exists()
            and found.fault() is None
            and found.manifest().get("token") == self._attempt.token
        )

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint, never unpickling anything but tensors and plain values.

        Raises:
            UserError: its checksums do not hold, or it holds anything else.
        """
        checkpoint = Checkpoint(Path(path), -1)
        fault = checkpoint.fault()
        if fault is not None:
            raise UserError(f"{path}: damaged: {fault}")
        try:
            state: dict[str, Any] = torch.load(
                checkpoint.state, map_location=map_location or "cpu", weights_only=True
            )
        except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"{path}: cannot be read as tensors and plain values: {reason}"
            ) from None
        return state

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one checkpoint: out of the catalogue by one rename, then from the disk."""
        doomed = Path(path)
        hidden = doomed.with_name(f".{doomed.name}.{secrets.token_hex(4)}.removed")
        doomed.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
