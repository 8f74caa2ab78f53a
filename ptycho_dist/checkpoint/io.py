"""Writes checkpoints: whole, durable, and only for the attempt that holds the run."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.fabric.plugins import CheckpointIO

from ptycho_dist.attempts.attempt import Attempt, holds_the_run
from ptycho_dist.checkpoint.catalog import (
    MANIFEST,
    STATE,
    Checkpoint,
    checkpoint_name,
    hidden_beside,
    put_back,
    sha256_of,
)
from ptycho_dist.checkpoint.manifest import manifest_checksum
from ptycho_dist.checkpoint.retention import Keep, Retention, reason
from ptycho_dist.checkpoint.state import read_state
from ptycho_dist.errors import RunError, UserError, first_line
from ptycho_dist.rundir.files import fsync_directory, write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory

if TYPE_CHECKING:
    from typing_extensions import Buffer

_TORCH_COULD_NOT_WRITE = ("PytorchStreamWriter", "inline_container", "basic_ios::clear")


class SupersededAttempt(RunError):
    """A later attempt has taken the run over, and this one must not commit any more."""


class CheckpointNotWritten(RunError):
    """The disk refused a checkpoint; the earlier checkpoints are untouched."""


class RunCheckpointIO(CheckpointIO):
    """Lightning's checkpoint writer for a run directory; called on rank 0 alone.

    The files are written and fsynced in a hidden directory beside the target, with the manifest of
    their checksums last. Then the directory is renamed, which is the commit. The attempt's token is
    checked before anything is written and again just before that rename. A checkpoint that is to be
    replaced is set aside by another rename before: after a kill at any instant `committed` still
    finds it, and `sweep` puts it back.
    """

    def __init__(
        self,
        run: RunDirectory,
        attempt: Attempt,
        keep: int = 2,
        save_top_k: int = 1,
        mode: Literal["min", "max"] = "min",
        keep_every_n_epochs: int | None = None,
    ) -> None:
        """Prepare to write the checkpoints of an attempt.

        Args:
            run: the run directory.
            attempt: the attempt that writes.
            keep: number of newest checkpoints that are kept.
            save_top_k: number of best checkpoints that are kept as well; -1: all are kept.
            mode: whether the smallest or the largest monitored value is best.
            keep_every_n_epochs: checkpoints that end epoch n, 2n, 3n ... are kept too; None: not.
        """
        self._run = run
        self._attempt = attempt
        self._retention = Retention(run, Keep(keep, save_top_k, mode, keep_every_n_epochs))

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Commit one checkpoint, then remove older ones that need not be kept (`Keep`).

        A checkpoint of the same step is left as it is if this attempt wrote it and it is whole, as
        at an epoch's end that is also a stop. Otherwise it is replaced: it may be damaged, or come
        from an attempt whose later steps were lost.

        Args:
            checkpoint: the state. `monitored` is the value of the epoch that it ends; None: it
                ends none. `position` is where training resumes: the epoch, counted from 0, the
                number of its samples that were used, and whether an epoch has just ended.
            path: the directory `step-NNNNNNNN` that appears.
            storage_options: not used.

        Raises:
            SupersededAttempt: a later attempt has begun.
            CheckpointNotWritten: the disk refused; the earlier checkpoints are untouched. If only
                the last fsync failed the new one is there, but may not survive a power failure.
        """
        target = Path(path)
        try:
            self._commit(checkpoint, target)
        except (OSError, UserError) as error:  # a UserError: the attempts cannot be read
            raise CheckpointNotWritten(
                f"{target.parent}: {target.name} was not written: {reason(error)}; "
                f"{self._last_good_beside(target)}; make room or repair the disk, then "
                f"ptycho-launch resume {self._run.run_id}"
            ) from error
        self._retention.thin_out(target)

    def _commit(self, checkpoint: dict[str, Any], target: Path) -> None:
        self._require_the_run(target)
        if self._is_ours_and_whole(target):
            fsync_directory(target.parent)  # this may be what failed when it was written
            self._retention.note_whole(Checkpoint(target, -1))
            return
        building = hidden_beside(target, "tmp")
        aside = hidden_beside(target, "replaced")
        try:
            building.mkdir(mode=0o700)
            manifest = {
                "format": 1,
                "step": checkpoint["global_step"],
                "value": checkpoint.get("monitored"),
                **_position(checkpoint),
                "attempt": self._attempt.number,
                "token": self._attempt.token,
                "files": {STATE: _write_state(checkpoint, building / STATE)},
            }
            manifest["checksum"] = manifest_checksum(manifest)
            write_json_atomic(building / MANIFEST, manifest)
            self._require_the_run(target)
            if target.exists():
                target.rename(aside)  # `committed` still finds it, until another is in its place
            building.rename(target)
            fsync_directory(target.parent)
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                put_back(aside)
            self._retention.leave(aside)
            self._retention.discard(building)
            raise
        self._retention.note_whole(Checkpoint(target, -1))
        self._retention.discard(aside)

    def _require_the_run(self, target: Path) -> None:
        if not holds_the_run(self._run, self._attempt):
            raise SupersededAttempt(
                f"attempt {self._attempt.number} no longer holds {self._run.run_id}: "
                f"a later attempt has begun; {target.name} is not committed"
            )

    def _is_ours_and_whole(self, target: Path) -> bool:
        found = Checkpoint(target, -1)
        return target.exists() and found.fault() is None and self._is_ours(found)

    def _is_ours(self, found: Checkpoint) -> bool:
        return bool(found.manifest().get("token") == self._attempt.token)

    def _last_good_beside(self, target: Path) -> str:
        all_read = True
        try:
            for found, whole in self._retention.examined():
                if whole and (found.path != target or not self._is_ours(found)):
                    return f"the last good checkpoint is {checkpoint_name(found.step)}"
                all_read &= whole is not None
        except UserError:
            all_read = False
        if all_read:
            return "there is no good checkpoint before it"
        return "the earlier checkpoints cannot be read now"

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint with `read_state`; rank 0 has verified its checksums for all ranks.

        Raises:
            UserError: a size is wrong, or it holds anything but tensors and plain values.
        """
        return read_state(Checkpoint(Path(path), -1), map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove one checkpoint: hide it by one rename, then remove it from the disk.

        Raises:
            LastCheckpoint: no other checkpoint is whole.
            OSError: the disk refused.
            UserError: the folder of checkpoints cannot be read.
        """
        self._retention.remove(Path(path))


def _position(checkpoint: dict[str, Any]) -> dict[str, Any]:
    position = checkpoint.get("position") or {}
    return {name: position.get(name) for name in ("epoch", "sample", "ends_epoch")}


def _write_state(checkpoint: dict[str, Any], path: Path) -> dict[str, Any]:
    """Write and fsync the state, read it back, and return its entry in the manifest.

    The checksum is that of the bytes that torch passed on. A checksum of only what is read back
    would confirm bytes that were damaged on their way to the file. The file is read before the
    commit, because older checkpoints are removed once this one is committed.
    """
    with _Hashed(path) as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:
            if file.refusal is not None:  # torch reports its own state, and not the disk's error
                raise file.refusal from None
            if any(sign in str(error) for sign in _TORCH_COULD_NOT_WRITE):
                raise OSError(errno.EIO, first_line(error)) from None
            raise
        file.flush()
        os.fsync(file.fileno())
    sha256 = file.digest.hexdigest()
    if sha256_of(path) != sha256:
        raise OSError(errno.EIO, f"{STATE} reads back with another checksum than was written")
    return {"sha256": sha256, "bytes": path.stat().st_size}


class _Hashed(io.BufferedWriter):
    """A new file for torch.save that computes the checksum, and remembers why a write failed."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path, "xb"))
        self.digest = hashlib.sha256()
        self.refusal: OSError | None = None

    def write(self, content: Buffer) -> int:
        self.digest.update(content)
        try:
            return super().write(content)
        except OSError as error:
            self.refusal = error
            raise
