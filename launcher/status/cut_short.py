"""Finds out what became of a submission that was cut short: it has a job, or it has none.

A submission has three steps: the intent is written, the job is handed over, the job id is written.
An intent without a job id means that the submitter is still at work, or was killed. A lock, which
the kernel releases when the submitter and its sbatch have ended, tells these two apart. After a
kill, SLURM is asked for the job by its comment (LP-220 to LP-224). This module only reads;
`launcher.control.submission.settle` records the result.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from launcher.slurm.jobs import Scheduler, comment_of
from launcher.status.submission_record import (
    Directory,
    Job,
    jobs_of,
    read_submission,
    with_job,
)
from ptycho_dist.attempts.processes import LocalProcess, find_processes
from ptycho_dist.errors import ClusterUnreachable, UserError
from ptycho_dist.rundir.array import ArrayDirectory, Indices
from ptycho_dist.rundir.layout import RunDirectory

LOCK_NAME = "submission.lock"
"""File in the directory of a run or an array that is locked while a job is submitted."""
WITHOUT_LOCKS_S = 120
"""Age up to which an intent counts as work in progress where the file system has no locks; sbatch
gives up earlier."""
_COMMANDS = {"run": "ptycho_dist.runtime.local_cluster", "array": "ptycho_dist.runtime.local_array"}


@dataclass(frozen=True)
class Unsettled:
    """A submission for which no job is known (yet)."""

    state: Literal["pending", "unknown", "prepared"]
    """pending: it is at work; unknown: SLURM does not answer; prepared: there is no job."""
    cause: str
    said_by: str


AT_WORK = Unsettled("pending", "it is being submitted", "run directory")


def submitted_jobs(run: RunDirectory, scheduler: Scheduler) -> tuple[list[Job], Unsettled | None]:
    """The jobs of a run, oldest first, those of its array and jobs that are found among them.

    Args:
        run: its directory.
        scheduler: asks SLURM for the job of a submission that was cut short.

    Raises:
        UserError: the record is damaged.
    """
    record, unsettled = _current_record(run, scheduler)
    member = ArrayDirectory.of_member(run)
    if member is None:
        return jobs_of(record), unsettled
    array, index = member
    of_array, unsettled_array = _current_record(array, scheduler)
    intent = of_array.get("intent")
    if unsettled is None and intent is not None and index in Indices.parse(intent["indices"]):
        unsettled = unsettled_array
    return jobs_of(record, index, of_array), unsettled


def array_jobs(array: ArrayDirectory, scheduler: Scheduler) -> list[dict[str, Any]]:
    """The jobs of an array, oldest first, each with the indices of its members.

    Raises:
        UserError: the record is damaged.
    """
    record, _ = _current_record(array, scheduler)
    return list(record["jobs"])


def _current_record(
    directory: Directory, scheduler: Scheduler
) -> tuple[dict[str, Any], Unsettled | None]:
    """The record as it is once the submission that was cut short is settled."""
    record = read_submission(directory)
    if "intent" not in record:
        return record, None
    lock = _shared_lock(directory)
    if lock is None:
        return record, AT_WORK
    try:
        record = read_submission(directory)  # whoever held the lock may have completed it
        if "intent" not in record:
            return record, None
        found = what_became_of(directory, record, scheduler, sure=lock.sure)
        return (record, found) if isinstance(found, Unsettled) else (with_job(record, found), None)
    finally:
        if lock.descriptor is not None:
            os.close(lock.descriptor)


def what_became_of(
    directory: Directory, record: Mapping[str, Any], scheduler: Scheduler, *, sure: bool
) -> str | Unsettled:
    """Look for the job of an intent whose submitter does not hold the lock.

    Args:
        directory: of the run or the array.
        record: its submission.json, with an intent.
        scheduler: asks SLURM for the job.
        sure: whether the lock proves that no submission is at work; False on a file system
            without locks.

    Returns:
        The id of the job, or why none is known.
    """
    intent = record["intent"]
    try:
        job_id = _find_job(directory, record, intent, scheduler)
    except ClusterUnreachable as error:
        cause = f"its submission was interrupted, and it is unknown whether a job exists: {error}"
        return Unsettled("unknown", cause, "run directory")
    if job_id is not None:
        return job_id
    if not sure and time.time() - float(intent["at"]) < WITHOUT_LOCKS_S:
        return AT_WORK
    return Unsettled(
        "prepared",
        "its submission was interrupted, and no job was queued; `resume` submits it",
        "squeue" if intent["cluster"] == "slurm" else "processes",
    )


def _find_job(
    directory: Directory,
    record: Mapping[str, Any],
    intent: Mapping[str, Any],
    scheduler: Scheduler,
) -> str | None:
    known = {job["job_id"] for job in record["jobs"]}
    if intent["cluster"] == "slurm":
        comment = comment_of(str(intent.get("comment", directory.path.name)))
        found = scheduler.jobs_with_comment(comment, float(intent["at"]))
        return next((job_id for job_id in found if job_id not in known), None)
    if intent["machine"] != socket.gethostname():
        raise ClusterUnreachable(f"it was started on {intent['machine']}; use that machine")
    module = _COMMANDS["array" if isinstance(directory, ArrayDirectory) else "run"]
    processes = (str(LocalProcess.of(pid)) for pid in find_processes(module, directory.path))
    return next((text for text in processes if text not in known), None)


@dataclass(frozen=True)
class _Lock:
    descriptor: int | None
    sure: bool
    """Whether the lock proves that no submission is at work; False without locks."""


def _shared_lock(directory: Directory) -> _Lock | None:
    """Take the lock as a reader; None while a submission is at work."""
    path = directory.path / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # it is created before the intent, so no submission is at work
        return _Lock(None, sure=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be opened: {error.strerror}") from None
    locked = try_lock(descriptor, fcntl.LOCK_SH)
    if locked is False:
        os.close(descriptor)
        return None
    return _Lock(descriptor, sure=bool(locked))


def try_lock(descriptor: int, kind: int) -> bool | None:
    """Take a lock without waiting.

    Args:
        descriptor: of the open lock file.
        kind: `fcntl.LOCK_SH` or `fcntl.LOCK_EX`.

    Returns:
        Whether the lock is held now; None on a file system without locks, such as a Lustre that is
        mounted without them.
    """
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
