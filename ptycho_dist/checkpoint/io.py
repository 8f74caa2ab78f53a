"""How a checkpoint reaches the disk: whole, durable, and only from the attempt in charge."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins import CheckpointIO

from ptycho_dist.checkpoint.catalog import (
    MANIFEST,
    STATE,
    Checkpoint,
    best_first,
    committed,
    sha256_of,
)
from ptycho_dist.checkpoint.state import read_state
from ptycho_dist.errors import RunError
from ptycho_dist.rundir.attempt import Attempt, holds_the_run
from ptycho_dist.rundir.files import fsync_directory, write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory


class SupersededAttempt(RunError):
    """A later attempt has taken the run over; nothing may be committed any more."""


class RunCheckpointIO(CheckpointIO):
    """Lightning's checkpoint writer for a run directory; called on rank 0 alone.

    The files are written and fsynced in a hidden directory beside the target, the manifest of
    their checksums last, and the directory is renamed: the commit point. The attempt's token is
    checked before anything is written and again just before that rename. A checkpoint that is to be
    replaced is set aside by a rename of its own and stays in the catalogue in between: a kill at
    any instant leaves it to be found (`committed`), and `sweep` puts it back.
    """

    def __init__(
        self,
        run: RunDirectory,
        attempt: Attempt,
        keep: int = 2,
        save_top_k: int = 1,
        mode: Literal["min", "max"] = "min",
    ) -> None:
        """
        Args:
            run, attempt: whose checkpoints.
            keep: how many of the newest stay.
            save_top_k: how many of the best stay beside them; -1: all stay.
            mode: whether the least or the largest monitored value is best.
        """
        self._run = run
        self._attempt = attempt
        self._keep = keep
        self._save_top_k = save_top_k
        self._mode = mode

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Commit one checkpoint, then remove older ones but for the newest and the best.

        `checkpoint["monitored"]` is the value of the epoch that it ends; None: it ends none.

        A checkpoint of the same step is left as it is when this attempt wrote it and it is whole
        (an epoch's end that is also a stop), and replaced otherwise: it may be damaged, or of an
        attempt whose later steps were given up.

        Raises:
            SupersededAttempt: a later attempt has begun.
            OSError: the disk refused; the checkpoints committed before are untouched.
        """
        target = Path(path)
        self._require_the_run(target)
        if self._is_ours_and_whole(target):
            return
        building = _hidden(target, "tmp")
        aside = _hidden(target, "replaced")
        building.mkdir(mode=0o700)
        try:
            with (building / STATE).open("xb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            manifest = {
                "format": 1,
                "step": checkpoint["global_step"],
                "value": checkpoint.get("monitored"),
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
            self._require_the_run(target)
            if target.exists():
                target.rename(aside)  # still in the catalogue until another is in its place
            building.rename(target)
        except BaseException:
            if aside.exists() and not target.exists():
                aside.rename(target)
            shutil.rmtree(building, ignore_errors=True)
            raise
        fsync_directory(target.parent)
        shutil.rmtree(aside, ignore_errors=True)
        self._remove_older_than(target)

    def _require_the_run(self, target: Path) -> None:
        if not holds_the_run(self._run, self._attempt):
            raise SupersededAttempt(
                f"attempt {self._attempt.number} no longer holds {self._run.run_id}: "
                f"a later attempt has begun, {target.name} is not committed"
            )

    def _remove_older_than(self, newest: Path) -> None:
        """Keep `newest`, those after it, as many unhurt ones before it as make up `keep`, the best.

        Steps after `newest` are damaged ones that the run will reach again.
        """
        if self._save_top_k == -1:
            return
        known = committed(self._run)
        while known and known[-1].path.name != newest.name:
            known.pop()
        best = best_first(known, self._mode)[: self._save_top_k]
        wanted = self._keep
        for checkpoint in reversed(known):
            if wanted == 0 and checkpoint not in best:
                self.remove_checkpoint(checkpoint.path)
            elif wanted > 0 and checkpoint.size_fault() is None:
                wanted -= 1

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
        """Read a checkpoint with `read_state`: rank 0 has verified its checksums for all ranks.

        Raises:
            UserError: it is not whole as far as sizes tell, or not tensors and plain values.
        """
        return read_state(Checkpoint(Path(path), -1), map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one checkpoint: out of the catalogue by one rename, then from the disk."""
        doomed = Path(path)
        hidden = _hidden(doomed, "removed")
        doomed.rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)


def _hidden(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{suffix}")
