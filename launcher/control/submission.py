"""Writes submission.json: the intent, the job that came of it, and what a killed submission left.

`launcher.status.cut_short` explains the three steps of a submission. All writing happens under an
exclusive lock on submission.lock (LP-222, LP-224).
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from launcher.slurm.jobs import Scheduler
from launcher.status.cut_short import LOCK_NAME, Unsettled, try_lock, what_became_of
from launcher.status.submission_record import Directory, job_count, read_submission, with_job
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory
from ptycho_dist.rundir.files import read_bytes, write_json_atomic

WAIT_FOR_LOCK_S = 5
"""How long a submitter waits; a command that looks for a job holds the lock for one squeue."""


@contextmanager
def submitting(directory: Directory, known_jobs: int) -> Iterator[int]:
    """Hold the right to submit for a directory.

    Args:
        directory: of a run or an array.
        known_jobs: number of its jobs when the caller decided to submit.

    Yields:
        The descriptor of the lock.

    Raises:
        UserError: another command is submitting it, or has submitted it meanwhile.
    """
    name = directory.path.name
    descriptor = _open_lock(directory)
    try:
        deadline = time.monotonic() + WAIT_FOR_LOCK_S
        while try_lock(descriptor, fcntl.LOCK_EX) is False:
            if time.monotonic() > deadline:
                raise UserError(f"{name} is being submitted by another command; see its status")
            time.sleep(0.02)
        if job_count(directory) != known_jobs:
            raise UserError(f"{name} was submitted by another command meanwhile; see its status")
        yield descriptor
    finally:
        os.close(descriptor)


def record_intent(directory: Directory, cluster: str, what: Mapping[str, Any]) -> None:
    """Record durably that a job is about to be submitted.

    Args:
        directory: of the run or the array.
        cluster: `slurm` or `local`.
        what: further entries that the record of the job gets.

    Raises:
        UserError: the record is damaged or cannot be written.
    """
    intent = {"cluster": cluster, "at": time.time(), "machine": socket.gethostname(), **what}
    try:
        write_json_atomic(
            directory.submission_json, {**read_submission(directory), "intent": intent}
        )
    except OSError as error:
        raise UserError(f"{directory.submission_json}: {error.strerror}") from None


def record_job(directory: Directory, job_id: str) -> None:
    """Record the job that came of the intent."""
    write_json_atomic(directory.submission_json, with_job(read_submission(directory), job_id))


def drop_intent(directory: Directory) -> None:
    """Record that no job came of the intent."""
    record = read_submission(directory)
    if record.pop("intent", None) is not None:
        write_json_atomic(directory.submission_json, record)


def settle(found: Iterable[Directory], scheduler: Scheduler) -> None:
    """Record what became of submissions that were cut short (LP-221).

    A directory that is damaged, being submitted, or not writable for us stays as it is. Reading it
    afterwards gives the same state, or an error that says what is damaged.

    Args:
        found: runs, with which the arrays that hold them are settled, and arrays with their
            members.
        scheduler: asks SLURM for the jobs.
    """
    for directory in _with_relatives(found):
        if _mentions_an_intent(directory):
            with suppress(UserError, OSError):
                _settle_one(directory, scheduler)


def _with_relatives(found: Iterable[Directory]) -> Iterable[Directory]:
    """The directories, each once, with the arrays of runs and the members of arrays."""
    known = {}
    for directory in found:
        known[directory.path] = directory
        if isinstance(directory, ArrayDirectory):
            with suppress(UserError):  # whoever reads the array next reports the damage
                known |= {member.run.path: member.run for member in directory.read()[1]}
        elif (member := ArrayDirectory.of_member(directory)) is not None:
            known[member[0].path] = member[0]
    return known.values()


def _mentions_an_intent(directory: Directory) -> bool:
    """Whether submission.json may hold an intent; cheap, because `list` asks of a thousand runs."""
    try:
        return b'"intent"' in read_bytes(f"{directory.path}/submission.json")
    except (OSError, UserError):
        return False


def _settle_one(directory: Directory, scheduler: Scheduler) -> None:
    descriptor = _open_lock(directory)
    try:
        locked = try_lock(descriptor, fcntl.LOCK_EX)
        record = read_submission(directory)
        if locked is False or "intent" not in record:
            return
        found = what_became_of(directory, record, scheduler, sure=bool(locked))
        if not isinstance(found, Unsettled):
            write_json_atomic(directory.submission_json, with_job(record, found))
        elif found.state == "prepared":
            drop_intent(directory)
    finally:
        os.close(descriptor)


def _open_lock(directory: Directory) -> int:
    path = directory.path / LOCK_NAME
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
