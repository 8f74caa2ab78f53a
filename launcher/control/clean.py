"""Removes runs that are over, and only what the launcher and the ranks made (RD-270 to RD-273)."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launcher.control.submission import settle
from launcher.slurm.jobs import Scheduler
from launcher.status.array_status import array_status
from launcher.status.overview import statuses_of
from launcher.status.run_status import RunStatus
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory, is_owned_by_array
from ptycho_dist.rundir.files import fsync_directory, read_json
from ptycho_dist.rundir.layout import UNFINISHED, RunDirectory, is_owned

LEFTOVER_AGE_S = 3600
"""Age in seconds from which a hidden directory is no longer one that a submission is building."""
TRASH = ".clean"
"""Beginning of the name of a directory that is being removed."""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """Something that can be removed, or why it cannot."""

    path: Path
    what: str
    """What it is: `finished run`, `left over from a submission that was killed` ..."""
    bytes: int = 0
    """Size of what can be removed."""
    kept: str = ""
    """Why it stays; empty: it can be removed."""
    parts: tuple[Path, ...] = ()
    """The paths to remove; files that a person has added are not among them."""

    def to_json(self) -> dict[str, object]:
        """Plain data for `clean --json`."""
        return {
            "path": str(self.path),
            "what": self.what,
            "bytes": self.bytes,
            "kept": self.kept,
            "parts": [str(part) for part in self.parts],
        }


def removals(
    root: Path,
    runs: Sequence[RunDirectory | ArrayDirectory],
    *,
    states: frozenset[str],
    older_than_s: float,
) -> list[Removal]:
    """Find what `clean` would remove; nothing is removed.

    Args:
        root: the directory of runs, in which leftovers of killed submissions are found as well.
        runs: the runs and arrays to examine; a member of an array is removed only with its array.
        states: states of runs that may be removed.
        older_than_s: number of seconds for which a run must not have changed.
    """
    why_not = {run.path: _not_ours(run) for run in runs}
    alone = [run for run in runs if isinstance(run, RunDirectory) and not why_not[run.path]]
    scheduler = Scheduler(every_s=60)
    settle([run for run in runs if not why_not[run.path]], scheduler)
    statuses = {status.path: status for status in statuses_of(alone, scheduler)}
    found = []
    for run in runs:
        if why_not[run.path]:
            found.append(Removal(path=run.path, what="run", kept=why_not[run.path]))
        elif isinstance(run, ArrayDirectory):
            found.append(_of_array(run, scheduler, states, older_than_s))
        else:
            found.append(_of_run(run, statuses[str(run.path)], states, older_than_s))
    return [*found, *_left_over(root)]


def remove(removal: Removal) -> int:
    """Remove what was found, and return the number of parts that were removed.

    A whole run is renamed first, so that a kill in between leaves nothing that looks like a run.

    Raises:
        UserError: a part cannot be removed.
    """
    if removal.kept:
        return 0
    try:
        if set(removal.parts) == {removal.path}:
            hidden = removal.path.with_name(f"{TRASH}-{removal.path.name}-{secrets.token_hex(2)}")
            removal.path.rename(hidden)
            fsync_directory(hidden.parent)
            shutil.rmtree(hidden)
            return 1
        for part in removal.parts:
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part)
            else:
                part.unlink()
    except OSError as error:
        raise UserError(
            f"{error.filename or removal.path}: cannot be removed: {error.strerror}"
        ) from None
    return len(removal.parts)


def _of_run(
    run: RunDirectory, status: RunStatus, states: frozenset[str], older_than_s: float
) -> Removal:
    what = f"{status.state} run"
    if not status.over and status.state != "prepared":
        return Removal(path=run.path, what=what, kept=status.cause)
    if status.state not in states:
        return Removal(path=run.path, what=what, kept="not asked for: see --state")
    if time.time() - _last_change(run.path) < older_than_s:
        return Removal(path=run.path, what=what, kept="changed too recently: see --older-than")
    foreign = [entry for entry in sorted(run.path.iterdir()) if not is_owned(entry.name)]
    if not foreign:
        return Removal(path=run.path, what=what, bytes=_size(run.path), parts=(run.path,))
    parts = tuple(entry for entry in sorted(run.path.iterdir()) if is_owned(entry.name))
    names = ", ".join(entry.name for entry in foreign[:3])
    return Removal(
        path=run.path,
        what=f"{what}, except what a person has put there ({names})",
        bytes=sum(_size(part) for part in parts),
        parts=parts,
    )


def _of_array(
    array: ArrayDirectory, scheduler: Scheduler, states: frozenset[str], older_than_s: float
) -> Removal:
    """Find whether an array can be removed: with all its members, or not at all."""
    try:
        found = array_status(array, scheduler)
    except UserError as error:
        return Removal(path=array.path, what="array", kept=str(error))
    what = f"array of {found.summary}"
    kept = ""
    states_found = {each.status.state for each in found.members}
    members = [each.member.run.path for each in found.members]
    if not found.over or "damaged" in states_found:
        kept = "not all of its members are over"
    elif states_found - states:
        kept = "not asked for: see --state"
    elif time.time() - max(map(_last_change, (array.path, *members))) < older_than_s:
        kept = "changed too recently: see --older-than"
    elif foreign := _foreign_in_array(array, members):
        kept = f"a person has put {foreign[0]} there, and an array is removed as a whole"
    if kept:
        return Removal(path=array.path, what=what, kept=kept)
    return Removal(path=array.path, what=what, bytes=_size(array.path), parts=(array.path,))


def _foreign_in_array(array: ArrayDirectory, members: Sequence[Path]) -> list[Path]:
    """Entries that neither the launcher nor the ranks made, as paths seen from the array."""
    own = {path.name for path in members}
    found = [entry for entry in array.path.iterdir() if not is_owned_by_array(entry.name)]
    found += [entry for entry in (array.path / "members").iterdir() if entry.name not in own]
    found += [entry for path in members for entry in path.iterdir() if not is_owned(entry.name)]
    return sorted(entry.relative_to(array.path) for entry in found)


def _not_ours(run: RunDirectory | ArrayDirectory) -> str:
    """Why a directory is not one that the launcher made for this user; empty: it is one."""
    path, is_array = run.path, isinstance(run, ArrayDirectory)
    if isinstance(run, RunDirectory) and run.array_id is not None:
        return f"a member of the array {run.array_id}, which is removed as a whole"
    if path.is_symlink():
        return "a link; remove the link, or name its target"
    try:
        if path.stat().st_uid != os.getuid():
            return "it belongs to another user"
        record = read_json(path / ("array.json" if is_array else "run.json"))
    except (OSError, UserError) as error:
        return str(error)
    made_as = record.get("array_id" if is_array else "run_id") if isinstance(record, dict) else None
    if isinstance(made_as, str):
        return ""
    return (
        "its array.json is not that of an array"
        if is_array
        else "its run.json is not that of a run"
    )


def _left_over(root: Path) -> Iterator[Removal]:
    """Directories that killed submissions and removals have left."""
    if not root.is_dir():
        return
    for path in sorted(root.iterdir()):
        trash = path.name.startswith(f"{TRASH}-")
        if not (trash or UNFINISHED.fullmatch(path.name)) or path.is_symlink():
            continue
        state = path.stat()
        if not path.is_dir() or state.st_uid != os.getuid():
            continue
        if trash or time.time() - state.st_mtime > LEFTOVER_AGE_S:
            what = f"left over from a {'removal' if trash else 'submission'} that was killed"
            yield Removal(path=path, what=what, bytes=_size(path), parts=(path,))


def _last_change(path: Path) -> float:
    return max(entry.stat().st_mtime for entry in (path, *path.iterdir()) if entry.exists())


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a directory; links are not followed."""
    if not path.is_dir() or path.is_symlink():
        return path.lstat().st_size
    return sum(
        (Path(folder) / name).lstat().st_size
        for folder, _, names in os.walk(path)
        for name in names
    )
