"""The record that ties a directory to its jobs; what a killed submission has left is found again.

A submission is three steps: the intent is written, the job is handed over, the job id is written.
Whoever finds an intent without a job id asks SLURM for the job by its comment (LP-220 to LP-224).
A lock, which the kernel releases when the submitter and its sbatch are gone, tells a submission
that is at work from one that was killed.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from launcher.slurm.jobs import Scheduler, comment_of
from ptycho_dist.attempts.processes import LocalProcess, find_processes
from ptycho_dist.errors import ClusterUnreachable, UserError
from ptycho_dist.rundir.array import ArrayDirectory, Indices
from ptycho_dist.rundir.checked_json import (
    read_object,
    required_moment,
    required_object,
    required_text,
    short,
)
from ptycho_dist.rundir.files import write_json_atomic
from ptycho_dist.rundir.layout import RunDirectory

FORMAT = 1
WAIT_FOR_LOCK_S = 5
"""A reader that settles what it found holds the lock for the time of one squeue."""
WITHOUT_LOCKS_S = 120
"""Longer than sbatch takes before it gives up."""
_COMMANDS = {"run": "ptycho_dist.runtime.local_cluster", "array": "ptycho_dist.runtime.local_array"}

Directory = RunDirectory | ArrayDirectory


@dataclass(frozen=True)
class Job:
    """A job that the launcher has submitted."""

    job_id: str
    cluster: str
    submitted_at: float
    of_array: bool = False
    """It is, or runs, a member of an array among others."""


@dataclass(frozen=True)
class Unsettled:
    """A submission of which no job is known (yet)."""

    state: Literal["pending", "unknown", "prepared"]
    cause: str
    said_by: str


_AT_WORK = Unsettled("pending", "it is being submitted", "run directory")


@contextmanager
def submitting(directory: Directory, known_jobs: int) -> Iterator[int]:
    """Hold the right to submit for a directory; yields the descriptor of the lock.

    Args:
        directory: of a run or an array.
        known_jobs: how many jobs it had when it was decided to submit.

    Raises:
        UserError: another command submits it, or has done so meanwhile.
    """
    name = directory.path.name
    descriptor = os.open(_lock_path(directory), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + WAIT_FOR_LOCK_S
        while _locked(descriptor, fcntl.LOCK_EX) is False:
            if time.monotonic() > deadline:
                raise UserError(f"{name} is being submitted by another command; see its status")
            time.sleep(0.02)
        if len(_read(directory)["jobs"]) != known_jobs:
            raise UserError(f"{name} was submitted by another command meanwhile; see its status")
        yield descriptor
    finally:
        os.close(descriptor)


def job_count(directory: Directory, scheduler: Scheduler) -> int:
    """How many jobs have been submitted for it; one that was cut short is settled first.

    Raises:
        UserError: the record is damaged.
    """
    return len(_settled(directory, scheduler)[0]["jobs"])


def record_intent(directory: Directory, cluster: str, what: Mapping[str, Any]) -> None:
    """Note, durably, that a job is about to be submitted; `what` of it goes into its record."""
    record = _read(directory)
    record["intent"] = {
        "cluster": cluster, "at": time.time(), "machine": socket.gethostname(), **what
    }  # fmt: skip
    try:
        write_json_atomic(directory.submission_json, record)
    except OSError as error:
        raise UserError(f"{directory.submission_json}: {error.strerror}") from None


def record_job(directory: Directory, job_id: str) -> None:
    """Note the job that came of the intent."""
    _adopt(directory, _read(directory), job_id)


def drop_intent(directory: Directory) -> None:
    """Note that no job came of the intent."""
    record = _read(directory)
    if record.pop("intent", None) is not None:
        write_json_atomic(directory.submission_json, record)


def recorded_jobs(run: RunDirectory) -> list[Job]:
    """The jobs of a run, oldest first, as far as they are recorded; nobody is asked.

    Raises:
        UserError: the record is damaged.
    """
    member = ArrayDirectory.of_member(run)
    return _jobs(_read(run), member, None if member is None else _read(member[0]))


def submitted_jobs(run: RunDirectory, scheduler: Scheduler) -> tuple[list[Job], Unsettled | None]:
    """The jobs of a run, oldest first, those of its array among them.

    A submission that was cut short is settled first: its job is found, or there is none.

    Raises:
        UserError: the record is damaged.
    """
    record, unsettled = _settled(run, scheduler)
    member = ArrayDirectory.of_member(run)
    if member is None:
        return _jobs(record, None, None), unsettled
    array, index = member
    of_array, unsettled_array = _settled(array, scheduler)
    intent = of_array.get("intent")
    if unsettled is None and intent is not None and index in Indices.parse(intent["indices"]):
        unsettled = unsettled_array
    return _jobs(record, member, of_array), unsettled


def _jobs(
    record: Mapping[str, Any],
    member: tuple[ArrayDirectory, int] | None,
    of_array: Mapping[str, Any] | None,
) -> list[Job]:
    """Of the run's own record, and of its array's those that hold it."""
    jobs = [Job(each["job_id"], each["cluster"], _when(each)) for each in record["jobs"]]
    if member is not None and of_array is not None:
        _, index = member
        jobs += [
            Job(job_of_member(each, index), each["cluster"], _when(each), of_array=True)
            for each in of_array["jobs"]
            if index in Indices.parse(each["indices"])
        ]
        jobs.sort(key=lambda job: job.submitted_at)
    return jobs


def _when(job: Mapping[str, Any]) -> float:
    return float(job.get("submitted_at", 0.0))


def array_jobs(array: ArrayDirectory, scheduler: Scheduler) -> list[dict[str, Any]]:
    """The jobs of an array, oldest first, each with the indices of its members."""
    record, _ = _settled(array, scheduler)
    return list(record["jobs"])


def job_of_member(job: Mapping[str, Any], index: int) -> str:
    """`123_4`: by which squeue, scancel and scontrol know one member of a job array."""
    if job["cluster"] != "slurm":
        return str(job["job_id"])
    return f"{job['job_id']}_{index - int(job['base'])}"


def _settled(directory: Directory, scheduler: Scheduler) -> tuple[dict[str, Any], Unsettled | None]:
    """The record of a directory, after a submission that was cut short has been looked into."""
    record = _read(directory)
    if "intent" not in record:
        return record, None
    lock = _lock_to_settle(directory)
    if lock is None:
        return record, _AT_WORK
    try:
        record = _read(directory)  # whoever held the lock may have settled it
        intent = record.get("intent")
        if intent is None:
            return record, None
        try:
            job_id = _find_job(directory, record, intent, scheduler)
        except ClusterUnreachable as error:
            cause = f"its submission was cut short, and whether a job exists is not known: {error}"
            return record, Unsettled("unknown", cause, "run directory")
        if job_id is not None:
            return _adopt(directory, record, job_id, lock.may_write), None
        if not lock.sure and time.time() - float(intent["at"]) < WITHOUT_LOCKS_S:
            return record, _AT_WORK
        if lock.may_write:
            drop_intent(directory)
        return record, Unsettled(
            "prepared",
            "its submission was cut short, and no job came of it; `resume` submits it",
            "squeue" if intent["cluster"] == "slurm" else "processes",
        )
    finally:
        os.close(lock.descriptor)


def _find_job(
    directory: Directory, record: dict[str, Any], intent: dict[str, Any], scheduler: Scheduler
) -> str | None:
    known = {job["job_id"] for job in record["jobs"]}
    is_array = isinstance(directory, ArrayDirectory)
    if intent["cluster"] == "slurm":
        comment = comment_of(str(intent.get("comment", directory.path.name)))
        found = scheduler.jobs_with_comment(comment, float(intent["at"]))
        return next((job_id for job_id in found if job_id not in known), None)
    if intent["machine"] != socket.gethostname():
        raise ClusterUnreachable(f"it was started on {intent['machine']}; ask there")
    module = _COMMANDS["array" if is_array else "run"]
    processes = (str(LocalProcess.of(pid)) for pid in find_processes(module, directory.path))
    return next((text for text in processes if text not in known), None)


def _adopt(
    directory: Directory, record: dict[str, Any], job_id: str, may_write: bool = True
) -> dict[str, Any]:
    """The intent becomes a job; it keeps the time of the intent, before which no attempt began."""
    intent = record.pop("intent")
    what = {key: value for key, value in intent.items() if key not in ("at", "machine", "comment")}
    job = {"job_id": job_id, "submitted_at": intent["at"], **what}
    record["jobs"] = [*record["jobs"], job]
    if may_write:
        write_json_atomic(directory.submission_json, record)
    return record


def _lock_path(directory: Directory) -> Path:
    return directory.path / "submission.lock"


@dataclass(frozen=True)
class _Lock:
    descriptor: int
    may_write: bool
    sure: bool
    """Nobody is submitting; else: this file system has no locks, so that nobody can tell."""


def _lock_to_settle(directory: Directory) -> _Lock | None:
    """The lock; None while somebody submits."""
    path = _lock_path(directory)
    kind = fcntl.LOCK_EX
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # another person's run
        kind = fcntl.LOCK_SH
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"{path}: cannot be opened: {error.strerror}") from None
    locked = _locked(descriptor, kind)
    if locked is False:
        os.close(descriptor)
        return None
    return _Lock(descriptor, kind == fcntl.LOCK_EX, bool(locked))


def _locked(descriptor: int, kind: int) -> bool | None:
    """Whether the lock is ours now; None: this file system has no locks."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a Lustre that is mounted without them, for one
        return None
    return True


def _read(directory: Directory) -> dict[str, Any]:
    """submission.json, checked: the file is untrusted input."""
    where = f"{directory.path}/submission.json"
    try:
        record = dict(read_object(where))
    except FileNotFoundError:
        return {"format": FORMAT, "jobs": []}
    jobs = record.get("jobs")
    if not isinstance(jobs, list):
        raise UserError(f"{where}: `jobs` is a list, found {short(jobs)}; damaged")
    of_array = isinstance(directory, ArrayDirectory)
    for job in jobs:
        _require_entry(required_object(job, where), where, of_array=of_array)
        required_text(job, "job_id", where)
        if "submitted_at" in job:
            required_moment(job, "submitted_at", where)
    if "intent" in record:
        intent = required_object(record["intent"], where)
        _require_entry(intent, where, of_array=of_array)
        required_moment(intent, "at", where)
        required_text(intent, "machine", where)
    return record


def _require_entry(entry: Mapping[str, Any], where: str, *, of_array: bool) -> None:
    required_text(entry, "cluster", where)
    if not of_array:
        return
    try:
        Indices.parse(entry.get("indices"))
    except ValueError as error:
        raise UserError(f"{where}: `indices`: {error}; damaged") from None
    if type(base := entry.get("base")) is not int:
        raise UserError(f"{where}: `base` is a whole number, found {short(base)}; damaged")
