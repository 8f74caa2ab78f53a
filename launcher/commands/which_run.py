"""Which run, array or study a person means: the one that is named, else the newest."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from launcher.control.submission import settle
from launcher.slurm.jobs import Scheduler
from launcher.status.array_status import FoldedArray, fold
from launcher.status.next_command import reference_to
from launcher.status.overview import born, overview
from launcher.text.plain_text import plain
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.layout import RunDirectory
from ptycho_dist.rundir.listing import (
    absolute,
    as_array,
    is_run,
    list_arrays,
    list_runs,
    member_paths,
    run_paths,
)

Found = RunDirectory | ArrayDirectory

CANCELLABLE = frozenset({"pending", "running", "unknown"})
"""States in which a run may still be cancelled."""
RESUMABLE = frozenset({"prepared", "stopped", "failed", "cancelled", "lost"})
"""States from which a run may be resumed."""
_SHOWN = 5
"""Names that a message lists."""
_MOST_DIGITS = 6
"""Digits of the index of a member, at most."""


def named(root: Path, reference: str) -> Found:
    """The run or array with this path, id, or beginning of an id.

    Args:
        root: the directory of runs.
        reference: what was typed. A member of an array is also found by a beginning of the array's
            id and its index: `fly64-2026.3`.

    Raises:
        UserError: nothing has this name, or several begin with it.
    """
    for direct in (Path(reference), root / reference):
        found = _at(absolute(direct))
        if found is not None:
            return found
    matches = _that_begin_with(root, reference) or _members_called(root, reference)
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = _listed([found.path.name for found in matches])
        raise UserError(f"{reference}: {len(matches)} runs begin so: {names}; type more of the id")
    raise UserError(f"{reference}: no such run in {root}; `ptycho-launch list` shows what there is")


def run_or_array(root: Path, reference: str | None) -> Found:
    """The run or array that is named; without a name the newest, as a line on stderr says.

    Raises:
        UserError: it is not there, or several could be meant.
    """
    if reference is not None:
        return named(root, reference)
    return _newest(root, list_runs(root))


def run_or_array_to(
    action: str, states: Collection[str], root: Path, reference: str | None
) -> Found:
    """The same for a command that changes the run: it refuses to choose between several.

    Args:
        action: the command, for the message.
        states: in which a run may be meant; an array where one of its members is in such a state.
        root: the directory of runs.
        reference: what was typed; None: nothing.

    Raises:
        UserError: it is not there, or nothing was typed and several could be meant.
    """
    if reference is not None:
        return named(root, reference)
    runs, scheduler = list_runs(root), Scheduler(every_s=60)
    settle(runs, scheduler)
    rows = fold(overview(runs, states, scheduler))
    names = [row.array_id if isinstance(row, FoldedArray) else row.run_id for row in rows]
    if len(names) > 1:
        raise UserError(
            f"{action}: {len(names)} runs could be meant: {_listed(names[::-1])}; name one"
        )
    # Of the same listing: a run that was made meanwhile is not meant.
    return _newest(root, runs)


def one_run(root: Path, reference: str | None) -> RunDirectory:
    """The run that is named, else the newest, for a command that cannot take an array.

    Raises:
        UserError: it is not there, several could be meant, or it is an array or a study.
    """
    found = run_or_array(root, reference)
    if isinstance(found, RunDirectory):
        return found
    name, members = found.array_id, member_paths(found.path)
    shown = reference_to(found.path)
    first = members[0].name if members else f"{name}.000"
    if found.study_json.is_file():
        raise UserError(
            f"{name} is a scaling study of {len(members)} runs: name one of them, {first} for "
            f"example, or see the study with `ptycho-launch scale report {shown}`"
        )
    raise UserError(
        f"{name} is an array of {len(members)} runs; name one of them, {first} for example"
    )


def study(root: Path, reference: str | None) -> ArrayDirectory:
    """The scaling study that is named, else the newest.

    Raises:
        UserError: it is not there, several could be meant, or it is not a study.
    """
    if reference is None:
        studies = [array for array in list_arrays(root) if array.study_json.is_file()]
        if not studies:
            raise UserError(f"no scaling studies in {root}; name one, or give --runs-dir")
        newest = max(studies, key=born)
        _taken("STUDY", newest)
        return newest
    found = named(root, reference)
    if isinstance(found, ArrayDirectory) and found.study_json.is_file():
        return found
    kind = "an array of runs" if isinstance(found, ArrayDirectory) else "a run"
    raise UserError(f"{found.path.name} is {kind}, not a scaling study")


def _newest(root: Path, runs: Collection[RunDirectory]) -> Found:
    if not runs:
        raise UserError(f"no runs in {root}; name a run by its directory, or give --runs-dir")
    newest = max(runs, key=born)
    member = ArrayDirectory.of_member(newest)
    return _taken("RUN", newest if member is None else member[0])


def _at(path: Path) -> Found | None:
    """The run or array in this place."""
    try:
        return RunDirectory(path) if is_run(path) else as_array(path)
    except OSError:  # what was typed is too long for a file name, for example
        return None


def _that_begin_with(root: Path, beginning: str) -> list[Found]:
    paths = [path for path in run_paths(root) if path.name.startswith(beginning)]
    return [found for path in paths if (found := _at(path)) is not None]


def _members_called(root: Path, reference: str) -> list[Found]:
    """Members by a beginning of the array's id and their index, with or without leading zeros."""
    beginning, _, digits = reference.rpartition(".")
    if not beginning or not digits.isdecimal() or len(digits) > _MOST_DIGITS:
        return []
    return [
        RunDirectory(path)
        for array in _that_begin_with(root, beginning)
        if isinstance(array, ArrayDirectory)
        for path in member_paths(array.path)
        if int(path.name.rpartition(".")[2]) == int(digits)
    ]


def _taken(word: str, found: Found) -> Found:
    """Say on stderr what was taken, so that stdout and `--json` stay clean."""
    name = plain(found.path.name)
    print(f"no {word} named: taking the newest, {name}", file=sys.stderr, flush=True)
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
