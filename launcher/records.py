"""What a run directory says of its jobs and attempts: untrusted JSON, checked, typed, no more of
it read than is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ptycho_dist.errors import UserError
from ptycho_dist.rundir.layout import RunDirectory

LATEST = 32_503_680_000.0
"""The year 3000: what is later is damage."""


@dataclass(frozen=True)
class Job:
    """A job that the launcher has submitted."""

    job_id: str
    cluster: str
    submitted_at: float


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


def submitted_jobs(run: RunDirectory) -> list[Job]:
    """The jobs of submission.json, oldest first; none where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    where = f"{run.path}/submission.json"
    try:
        content = _read(where)
    except FileNotFoundError:
        return []
    jobs = content.get("jobs")
    if not isinstance(jobs, list):
        raise UserError(f"{where}: `jobs` is a list, found {_short(jobs)}; damaged")
    return [
        Job(_text(job, "job_id", where), _text(job, "cluster", where), _submitted(job, where))
        for job in (_mapping(each, where) for each in jobs)
    ]


def _submitted(job: Mapping[str, Any], where: str) -> float:
    return _moment(job, "submitted_at", where) if "submitted_at" in job else 0.0


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
        record = _read(where)
    except FileNotFoundError:
        raise UserError(f"{where}: no such file") from None
    nodes = record.get("nodes")
    if not isinstance(nodes, list) or not all(isinstance(node, str) for node in nodes):
        raise UserError(f"{where}: `nodes` is a list of names, found {_short(nodes)}; damaged")
    ends_at = record.get("ends_at")
    return AttemptStart(
        number=number,
        job_id=_text(record, "job_id", where),
        cluster=_text(record, "cluster", where),
        nodes=tuple(nodes),
        cause=_text(record, "cause", where),
        started_at=_moment(record, "started_at", where),
        walltime_ends_at=None if ends_at is None else _moment(record, "ends_at", where),
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


def read_records(run: RunDirectory) -> Records:
    """Read what is needed to judge a run.

    Raises:
        UserError: its directory is damaged.
    """
    jobs = submitted_jobs(run)
    numbers = attempt_numbers(run)
    latest = read_attempt(run, numbers[-1]) if numbers else None
    job = jobs[-1] if jobs else None
    if latest is not None and (job is None or _later(latest, job)):
        job = Job(latest.job_id, latest.cluster, latest.started_at)
    return Records(run, job, len(numbers), latest)


def _later(attempt: AttemptStart, job: Job) -> bool:
    """An attempt that no submission of ours explains: its script was given to sbatch by hand."""
    return attempt.job_id != job.job_id and attempt.started_at > job.submitted_at


def _read(path: str) -> Mapping[str, Any]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a thousand runs are listed
            content = json.loads(file.read())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}; damaged") from None
    return _mapping(content, path)


def _end(record: Mapping[str, Any], where: str) -> AttemptEnd:
    ending = _mapping(record.get("ending") or {}, where)
    following = _mapping(record.get("next") or {}, where)
    code, restart = record.get("exit_code"), following.get("restart")
    return AttemptEnd(
        ended_at=_moment(record, "ended_at", where),
        exit_code=code if type(code) is int else None,
        outcome=_text(record, "outcome", where),
        cause=str(ending.get("cause", "")),
        reason=str(ending.get("reason") or ""),
        step=count(ending, "step"),
        restart=restart if isinstance(restart, bool) else None,
        why=str(following.get("why") or ""),
    )


def count(record: Mapping[str, Any], name: str) -> int | None:
    """A whole number, not negative, of a sane size; None: there is none."""
    value = record.get(name)
    return value if type(value) is int and 0 <= value < 10**15 else None


def number(record: Mapping[str, Any], name: str) -> float | None:
    """A finite number of a sane size; None: there is none."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 10**15 else None


def moment(record: Mapping[str, Any], name: str) -> float | None:
    """Seconds since the epoch; None: there is no such time."""
    value = number(record, name)
    return value if value is not None and 0 <= value < LATEST else None


def scalars(record: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are texts, finite numbers, or nothing: what may be printed as JSON."""
    kept = (str, bool, type(None))
    return {
        name: value
        for name, value in record.items()
        if isinstance(value, kept) or number(record, name) is not None
    }


def _moment(record: Mapping[str, Any], name: str, where: str) -> float:
    value = moment(record, name)
    if value is None:
        found = _short(record.get(name))
        raise UserError(f"{where}: `{name}` is a time in seconds, found {found}; damaged")
    return value


def _text(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise UserError(f"{where}: `{name}` is a text, found {_short(value)}; damaged")
    return value


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{where}: an object is expected, found {_short(value)}; damaged")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
