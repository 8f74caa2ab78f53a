"""Reads submission.json, which ties a run or an array to its jobs; `launcher.control` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.array import ArrayDirectory, Indices
from ptycho_dist.rundir.checked_json import (
    read_object,
    required_moment,
    required_object,
    required_text,
    short,
)
from ptycho_dist.rundir.layout import RunDirectory

FORMAT = 1
"""Format number of submission.json."""
_OF_THE_INTENT = ("at", "machine", "comment")
"""Entries of an intent that do not go into the record of its job."""

Directory = RunDirectory | ArrayDirectory


@dataclass(frozen=True)
class Job:
    """A job that the launcher has submitted."""

    job_id: str
    cluster: str
    submitted_at: float
    of_array: bool = False
    """Whether the job runs other members of the array as well."""


def read_submission(directory: Directory) -> dict[str, Any]:
    """Read submission.json and check every entry, because the file is untrusted input.

    Args:
        directory: a run or an array; one without the file has an empty record.

    Returns:
        `format`, `jobs` (oldest first) and, while a submission is not complete, `intent`.

    Raises:
        UserError: the record is damaged.
    """
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


def with_job(record: Mapping[str, Any], job_id: str) -> dict[str, Any]:
    """Return a record whose intent has become a job.

    The job gets the time of the intent, because no attempt of the job began before that.
    """
    intent = record["intent"]
    what = {name: value for name, value in intent.items() if name not in _OF_THE_INTENT}
    job = {"job_id": job_id, "submitted_at": intent["at"], **what}
    rest = {name: value for name, value in record.items() if name != "intent"}
    return {**rest, "jobs": [*record["jobs"], job]}


def job_count(directory: Directory) -> int:
    """Number of jobs that are recorded for a run or an array.

    Raises:
        UserError: the record is damaged.
    """
    return len(read_submission(directory)["jobs"])


def recorded_jobs(run: RunDirectory) -> list[Job]:
    """The recorded jobs of a run, oldest first, those of its array among them.

    Raises:
        UserError: the record is damaged.
    """
    member = ArrayDirectory.of_member(run)
    if member is None:
        return jobs_of(read_submission(run))
    array, index = member
    return jobs_of(read_submission(run), index, read_submission(array))


def jobs_of(
    record: Mapping[str, Any], index: int = 0, of_array: Mapping[str, Any] | None = None
) -> list[Job]:
    """The jobs in the record of a run, oldest first.

    Args:
        record: the run's own record.
        index: the run's place in its array.
        of_array: the record of that array; jobs that hold the run are added. None: no array.
    """
    jobs = [Job(each["job_id"], each["cluster"], _submitted_at(each)) for each in record["jobs"]]
    if of_array is not None:
        jobs += [
            Job(job_of_member(each, index), each["cluster"], _submitted_at(each), of_array=True)
            for each in of_array["jobs"]
            if index in Indices.parse(each["indices"])
        ]
        jobs.sort(key=lambda job: job.submitted_at)
    return jobs


def _submitted_at(job: Mapping[str, Any]) -> float:
    return float(job.get("submitted_at", 0.0))


def job_of_member(job: Mapping[str, Any], index: int) -> str:
    """The id of one member of a job array, as squeue, scancel and scontrol know it: `123_4`."""
    if job["cluster"] != "slurm":
        return str(job["job_id"])
    return f"{job['job_id']}_{index - int(job['base'])}"
