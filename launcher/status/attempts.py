"""What a run directory says of its attempts and its latest job: untrusted JSON, checked, typed, no
more of it read than is asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.slurm.jobs import Scheduler
from launcher.status.cut_short import Unsettled, submitted_jobs
from launcher.status.submission_record import Job
from ptycho_dist.errors import UserError
from ptycho_dist.rundir.checked_json import (
    count,
    read_object,
    required_moment,
    required_object,
    required_text,
    short,
)
from ptycho_dist.rundir.layout import RunDirectory


@dataclass(frozen=True)
class AttemptEnd:
    """How an attempt ended, as it was judged then, and what was to follow."""

    ended_at: float
    exit_code: int | None
    outcome: str
    cause: str
    reason: str
    step: int | None
    restart: bool | None
    """Whether another start was to follow by itself; None: an old record that does not say."""
    why: str
    """Of that decision."""


@dataclass(frozen=True)
class AttemptStart:
    """One attempt."""

    number: int
    job_id: str
    cluster: str
    nodes: tuple[str, ...]
    cause: str
    """`submit`, `resume` or `requeue`."""
    started_at: float
    walltime_ends_at: float | None
    end: AttemptEnd | None
    """None: it is at work, or was killed before anybody could say."""


def attempt_numbers(run: RunDirectory) -> list[int]:
    """Of all attempts, in order; nothing in them is read."""
    try:
        names = os.listdir(f"{run.path}/attempts")  # noqa: PTH208 - a thousand runs are listed
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{run.attempts}: cannot be read: {error.strerror}") from None
    stems = (name[:-5] for name in names if name.endswith(".json"))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())


def read_attempt(run: RunDirectory, number: int) -> AttemptStart:
    """One attempt.

    Raises:
        UserError: its file is missing or damaged.
    """
    where = f"{run.path}/attempts/{number:03d}.json"
    try:
        record = read_object(where)
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    nodes = record.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise UserError(f"{where}: `nodes` is a list of names, found {short(nodes)}; damaged")
    ends_at = record.get("ends_at")
    return AttemptStart(
        number=number,
        job_id=required_text(record, "job_id", where),
        cluster=required_text(record, "cluster", where),
        nodes=tuple(nodes),
        cause=required_text(record, "cause", where),
        started_at=required_moment(record, "started_at", where),
        walltime_ends_at=None if ends_at is None else required_moment(record, "ends_at", where),
        end=None if record.get("ended_at") is None else _end(record, where),
    )


@dataclass(frozen=True)
class Records:
    """What the directory of a run says about its jobs."""

    run: RunDirectory
    job: Job | None
    """The latest."""
    attempts: int
    latest: AttemptStart | None
    unsettled: Unsettled | None = None
    """A submission of which no job is known (yet)."""

    @property
    def of_job(self) -> AttemptStart | None:
        """The latest attempt, where the latest job has begun it."""
        same = self.latest and self.job and self.latest.job_id == self.job.job_id
        return self.latest if same else None

    @property
    def asks_slurm(self) -> bool:
        """Whether its state cannot be had without SLURM."""
        if self.job is None or self.job.cluster != "slurm":
            return False
        end = self.of_job.end if self.of_job is not None else None
        return end is None or (bool(end.restart) and not self.run.result_json.exists())


def read_records(run: RunDirectory, scheduler: Scheduler) -> Records:
    """Read what is needed to tell the state of a run.

    Args:
        run: its directory.
        scheduler: whom to ask whether a job came of a submission that was cut short.

    Raises:
        UserError: its directory is damaged.
    """
    jobs, unsettled = submitted_jobs(run, scheduler)
    numbers = attempt_numbers(run)
    latest = read_attempt(run, numbers[-1]) if numbers else None
    job = jobs[-1] if jobs else None
    if latest is not None and (job is None or _later(latest, job)):
        job = Job(latest.job_id, latest.cluster, latest.started_at)
    return Records(run, job, len(numbers), latest, unsettled)


def _later(attempt: AttemptStart, job: Job) -> bool:
    """An attempt that no submission of ours explains: its script was given to sbatch by hand."""
    return attempt.job_id != job.job_id and attempt.started_at > job.submitted_at


def _end(record: Mapping[str, Any], where: str) -> AttemptEnd:
    ending = required_object(record.get("ending") or {}, where)
    following = required_object(record.get("next") or {}, where)
    code, restart = record.get("exit_code"), following.get("restart")
    return AttemptEnd(
        ended_at=required_moment(record, "ended_at", where),
        exit_code=code if type(code) is int else None,
        outcome=required_text(record, "outcome", where),
        cause=str(ending.get("cause", "")),
        reason=str(ending.get("reason") or ""),
        step=count(ending, "step"),
        restart=restart if isinstance(restart, bool) else None,
        why=str(following.get("why") or ""),
    )
