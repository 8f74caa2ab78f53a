"""Which checkpoints are kept, and how the others are removed; the last whole one always stays."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ptycho_dist.checkpoint.catalog import (
    Checkpoint,
    committed,
    hidden_beside,
    put_back,
    ranked,
)
from ptycho_dist.checkpoint.manifest import ended_epoch_in, one_line, value_in
from ptycho_dist.errors import RunError, UserError
from ptycho_dist.rundir.layout import RunDirectory

log = logging.getLogger(__name__)


class LastCheckpoint(RunError):
    """The checkpoint cannot be removed, because no other one is whole."""


@dataclass(frozen=True)
class Keep:
    """Which checkpoints are kept."""

    newest: int = 2
    """Number of the newest checkpoints; at least one."""
    best: int = 1
    """Number of the best checkpoints by their monitored value; -1: all checkpoints are kept."""
    mode: Literal["min", "max"] = "min"
    """Whether the smallest or the largest monitored value is best."""
    every_n_epochs: int | None = None
    """Checkpoints that end epoch n, 2n, 3n ..., counted from 1, are kept too; None: not."""

    def __post_init__(self) -> None:
        every = 1 if self.every_n_epochs is None else self.every_n_epochs
        if self.newest < 1 or self.best < -1 or every < 1:
            raise ValueError(f"{self}: keeps no checkpoint, or a number is out of range")


@dataclass(frozen=True)
class Seen:
    """A checkpoint, with the entries of its manifest when it was read."""

    checkpoint: Checkpoint
    value: float | None
    """Its monitored value; None: it ends no epoch."""
    ended_epoch: int | None
    """The epoch that it ends, counted from 1; None: it ends none."""


def superfluous(
    known: Sequence[Seen], keep: Keep, is_whole: Callable[[Checkpoint], bool | None]
) -> list[Checkpoint]:
    """Return the checkpoints that need not be kept, the oldest last.

    Damaged ones are not counted. Those among the newest are kept until `keep.newest` whole ones
    have followed, because the run may reach their steps again. One that cannot be read now is not
    counted either, and is kept.

    Args:
        known: all checkpoints, oldest first; the last one was committed just now.
        keep: which are kept.
        is_whole: judges a checkpoint by all its bytes; None: the disk cannot read them now.
    """
    if keep.best == -1:
        return []
    wanted = keep.newest
    older: list[Seen] = []
    for seen in reversed(known):
        if wanted == 0:
            older.append(seen)
        elif is_whole(seen.checkpoint):
            wanted -= 1
    if not older:
        return []
    stay = {s.checkpoint for s in older if keep.every_n_epochs and _is_due(s, keep.every_n_epochs)}
    wanted = keep.best
    valued = [(seen.value, seen.checkpoint) for seen in known if seen.value is not None]
    for checkpoint in ranked(valued, keep.mode):
        if wanted == 0:
            break
        whole = is_whole(checkpoint)
        if whole is not False:
            stay.add(checkpoint)
        if whole:
            wanted -= 1
    return [seen.checkpoint for seen in older if seen.checkpoint not in stay]


def _is_due(seen: Seen, every: int) -> bool:
    return bool(seen.ended_epoch) and (seen.ended_epoch or 0) % every == 0


class Retention:
    """Removes checkpoints of a run that need not be kept; for rank 0 of the attempt in charge.

    A checkpoint that was read once is not read again while inode, size and times of its files
    remain the same. They show every later write, but no decay of the medium. The newest one, which
    justifies the removal of others, was read back by its writer just before.
    """

    def __init__(self, run: RunDirectory, keep: Keep) -> None:
        self._run = run
        self._keep = keep
        self._read: dict[Path, tuple[int, ...]] = {}
        self._left_over: set[Path] = set()

    def note_whole(self, checkpoint: Checkpoint) -> None:
        """Note that the bytes of a checkpoint were read and are right."""
        signature = _signature(checkpoint)
        if signature is not None:
            self._read[checkpoint.path] = signature

    def examined(self) -> Iterator[tuple[Checkpoint, bool | None]]:
        """Yield all checkpoints, the newest first, and whether each is whole.

        Yields:
            (checkpoint, whether it is whole; None: the disk cannot read it now).

        Raises:
            UserError: the folder of checkpoints cannot be read.
        """
        for found in reversed(committed(self._run)):
            yield found, self._is_whole(found)

    def thin_out(self, newest: Path) -> None:
        """Remove what need not be kept beside `newest`, which was committed just now.

        Checkpoints of later steps are damaged, and the run will reach their steps again: they are
        kept. If the disk refuses, there is only a warning, and the next call tries again.
        """
        for left_over in sorted(self._left_over):
            self.discard(left_over)
        try:
            known = committed(self._run)
            while known and known[-1].path.name != newest.name:
                known.pop()
            seen = [s for checkpoint in known if (s := _look_at(checkpoint)) is not None]
            for checkpoint in superfluous(seen, self._keep, self._is_whole):
                self.remove(checkpoint.path)
        except (OSError, UserError, LastCheckpoint) as error:
            log.warning("older checkpoints are kept for now: %s", reason(error))

    def remove(self, path: Path) -> None:
        """Remove one checkpoint: hide it by one rename, then remove it from the disk.

        Raises:
            LastCheckpoint: no other checkpoint is whole.
            OSError: the disk refused.
            UserError: the folder of checkpoints cannot be read.
        """
        if not any(whole and found.path != path for found, whole in self.examined()):
            raise LastCheckpoint(f"{path}: is kept, as no other checkpoint is whole")
        hidden = hidden_beside(path, "removed")
        path.rename(hidden)
        self._read.pop(path, None)
        self.discard(hidden)

    def discard(self, hidden: Path) -> None:
        """Remove a hidden directory now or, if the disk refuses, in a later `thin_out`."""
        try:
            if not put_back(hidden) and hidden.exists():
                shutil.rmtree(hidden)
            self._left_over.discard(hidden)
        except OSError as error:
            self.leave(hidden)
            log.warning("%s: is not removed yet: %s", hidden, reason(error))

    def leave(self, hidden: Path) -> None:
        """Remove a hidden directory in the next `thin_out`."""
        self._left_over.add(hidden)

    def _is_whole(self, checkpoint: Checkpoint) -> bool | None:
        before = _signature(checkpoint)
        if before is not None and self._read.get(checkpoint.path) == before:
            return True
        try:
            if checkpoint.damage() is not None:
                return False
        except OSError:
            return None
        if before is not None:
            self._read[checkpoint.path] = before
        return True


def _look_at(checkpoint: Checkpoint) -> Seen | None:
    """Read what a manifest states; None: the disk cannot read it now, so nothing may rely on it."""
    try:
        manifest = checkpoint.read_manifest()
    except (UserError, FileNotFoundError, NotADirectoryError):
        return Seen(checkpoint, value=None, ended_epoch=None)
    except OSError:
        return None
    return Seen(checkpoint, value_in(manifest), ended_epoch_in(manifest))


def _signature(checkpoint: Checkpoint) -> tuple[int, ...] | None:
    """Return numbers that change when a file of the checkpoint is written; None: unknown."""
    try:
        found = [path.stat() for path in (checkpoint.state, checkpoint.manifest_path)]
    except OSError:
        return None
    return tuple(
        number
        for status in found
        for number in (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    )


def reason(error: Exception) -> str:
    """Return the message of the operating system, or the error itself, in one line."""
    message = error.strerror if isinstance(error, OSError) and error.strerror else error
    return one_line(message) or type(error).__name__
