"""Which checkpoints stay, and how the others go: never the last one that is whole."""

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
    """What is to be removed is the last checkpoint that is whole."""


@dataclass(frozen=True)
class Keep:
    """Which checkpoints stay."""

    newest: int = 2
    """How many of the newest; at least one."""
    best: int = 1
    """How many of the best by their monitored value; -1: all checkpoints stay."""
    mode: Literal["min", "max"] = "min"
    """Whether the least or the largest monitored value is best."""
    every_n_epochs: int | None = None
    """Those that end epoch n, 2n, 3n ..., counted from 1; None: no such ones."""

    def __post_init__(self) -> None:
        every = 1 if self.every_n_epochs is None else self.every_n_epochs
        if self.newest < 1 or self.best < -1 or every < 1:
            raise ValueError(f"{self}: keeps no checkpoint, or a number that means nothing")


@dataclass(frozen=True)
class Seen:
    """A checkpoint, and what its manifest said when it was looked at."""

    checkpoint: Checkpoint
    value: float | None
    ended_epoch: int | None
    """Counted from 1; None: it ends none."""


def superfluous(
    known: Sequence[Seen], keep: Keep, is_whole: Callable[[Checkpoint], bool | None]
) -> list[Checkpoint]:
    """Those that need not stay, the oldest last.

    Damaged ones count for nothing; those among the newest stay until `keep.newest` whole ones
    have come after them, as the run may reach their steps again. One that cannot be read now
    counts for nothing either, and stays.

    Args:
        known: oldest first; the last one is the one that was committed just now.
        keep: which stay.
        is_whole: by all its bytes; None: the disk does not give them now.
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
    """Thins out the checkpoints of a run; for rank 0 of the attempt in charge.

    A checkpoint whose bytes were read once is not read again while inode, size and times of its
    files stay the same. They tell of every later writing, but not of a medium that rots; the newest
    one, on which the removal of others rests, was read back by its writer just before.
    """

    def __init__(self, run: RunDirectory, keep: Keep) -> None:
        self._run = run
        self._keep = keep
        self._read: dict[Path, tuple[int, ...]] = {}
        self._left_over: set[Path] = set()

    def note_whole(self, checkpoint: Checkpoint) -> None:
        """Its bytes were read and are right."""
        signature = _signature(checkpoint)
        if signature is not None:
            self._read[checkpoint.path] = signature

    def examined(self) -> Iterator[tuple[Checkpoint, bool | None]]:
        """All checkpoints, the newest first, and whether each is whole.

        None: the disk does not give its bytes now.

        Raises:
            UserError: the folder of checkpoints cannot be read.
        """
        for found in reversed(committed(self._run)):
            yield found, self._is_whole(found)

    def thin_out(self, newest: Path) -> None:
        """Remove what need not stay beside `newest`, which was committed just now.

        Steps after `newest` are damaged ones that the run will reach again: they stay. A disk that
        refuses is a warning, as the commit holds; the next call tries again.
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
            log.warning("older checkpoints stay for now: %s", reason(error))

    def remove(self, path: Path) -> None:
        """Remove one checkpoint: out of the catalogue by one rename, then from the disk.

        Raises:
            LastCheckpoint: no other one is whole.
            OSError: the disk refused.
            UserError: the folder of checkpoints cannot be read.
        """
        if not any(whole and found.path != path for found, whole in self.examined()):
            raise LastCheckpoint(f"{path}: stays, as no other checkpoint is whole")
        hidden = hidden_beside(path, "removed")
        path.rename(hidden)
        self._read.pop(path, None)
        self.discard(hidden)

    def discard(self, hidden: Path) -> None:
        """Clear a hidden directory away, now or, where the disk refuses, in a later `thin_out`."""
        try:
            if not put_back(hidden) and hidden.exists():
                shutil.rmtree(hidden)
            self._left_over.discard(hidden)
        except OSError as error:
            self.leave(hidden)
            log.warning("%s: stays for now: %s", hidden, reason(error))

    def leave(self, hidden: Path) -> None:
        """Clear a hidden directory away in the next `thin_out`."""
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
    """None: the disk does not give its manifest now, so that nothing may rest on it."""
    try:
        manifest = checkpoint.read_manifest()
    except (UserError, FileNotFoundError, NotADirectoryError):
        return Seen(checkpoint, None, None)
    except OSError:
        return None
    return Seen(checkpoint, value_in(manifest), ended_epoch_in(manifest))


def _signature(checkpoint: Checkpoint) -> tuple[int, ...] | None:
    """Changes when a file of the checkpoint is written or replaced; None: it cannot be told."""
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
    """What the operating system said, or the error, in one line."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else error
    return one_line(said) or type(error).__name__
