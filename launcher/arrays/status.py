"""What an array is doing: the states of its members, counted; each is that of an ordinary run."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launcher.scheduler import Scheduler
from launcher.status import RunStatus, status_of
from launcher.submissions import array_jobs, job_of_member
from ptycho_dist.rundir import RunDirectory
from ptycho_dist.rundir.array import ArrayDirectory, Indices, Member

POLL_S = 1.0
ASK_SCHEDULER_S = 8.0
_ORDER = ("running", "pending", "finished", "failed")


@dataclass(frozen=True)
class MemberStatus:
    """One member, at one moment."""

    member: Member
    status: RunStatus

    def to_json(self) -> dict[str, Any]:
        """Plain data for `status ARRAY --json`."""
        progress = self.status.progress
        return {
            "index": self.member.index,
            "run_id": self.member.run.run_id,
            "values": self.member.values,
            "state": self.status.state,
            "cause": self.status.cause,
            "said_by": self.status.said_by,
            "job_id": self.status.job_id,
            "attempts": self.status.attempts,
            "step": _number(progress.get("step")),
            "total_steps": _number(progress.get("total_steps")),
            "loss": _number(progress.get("loss")),
        }


@dataclass(frozen=True)
class ArrayStatus:
    """An array, at one moment."""

    array: ArrayDirectory
    axes: dict[str, list[Any]]
    jobs: list[dict[str, Any]]
    """The job arrays, oldest first."""
    members: list[MemberStatus]

    @property
    def over(self) -> bool:
        """Whether nothing of it is alive any more, and nothing will come."""
        return all(each.status.over or each.status.state == "prepared" for each in self.members)

    @property
    def finished(self) -> bool:
        """Whether every member has finished."""
        return all(each.status.state == "finished" for each in self.members)

    @property
    def summary(self) -> str:
        """`12: 3 running, 8 finished, 1 failed`."""
        return summary(each.status.state for each in self.members)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `status ARRAY --json`."""
        return {
            "array_id": self.array.array_id,
            "path": str(self.array.path),
            "axes": self.axes,
            "counts": dict(counted(each.status.state for each in self.members)),
            "over": self.over,
            "jobs": [
                {name: job[name] for name in ("job_id", "cluster", "submitted_at", "indices")}
                for job in self.jobs
            ],
            "members": [each.to_json() for each in self.members],
        }


def array_status(array: ArrayDirectory, scheduler: Scheduler | None = None) -> ArrayStatus:
    """The state of an array; SLURM is asked once for all members.

    Raises:
        UserError: array.json or the directory of a member is damaged.
    """
    scheduler = scheduler or Scheduler(every_s=60)
    axes, members = array.read()
    jobs = array_jobs(array, scheduler)
    latest: dict[int, str] = {}
    for job in jobs:
        if job["cluster"] == "slurm":
            own = Indices.parse(job["indices"])
            latest |= {m.index: job_of_member(job, m.index) for m in members if m.index in own}
    asked = [latest[m.index] for m in members if m.index in latest and not _over(m.run)]
    scheduler.learn(asked)
    statuses = [MemberStatus(member, status_of(member.run, scheduler)) for member in members]
    return ArrayStatus(array, axes, jobs, statuses)


def _over(run: RunDirectory) -> bool:
    """Whether SLURM need not be asked."""
    return run.result_json.exists()


def watch_array(array: ArrayDirectory, say: Callable[[str], object]) -> ArrayStatus:
    """Say how the counts change until the array is over; Ctrl-C ends the watching alone."""
    scheduler, said = Scheduler(ASK_SCHEDULER_S), ""
    while True:
        status = array_status(array, scheduler)
        if status.summary != said:
            said = status.summary
            say(said)
        if status.over:
            return status
        time.sleep(POLL_S)


@dataclass(frozen=True)
class FoldedArray:
    """An array as a list of runs shows it."""

    array_id: str
    summary: str
    attempts: int


def fold(statuses: Sequence[RunStatus]) -> tuple[list[RunStatus], list[FoldedArray]]:
    """Runs by themselves, and arrays in place of their members."""
    alone: list[RunStatus] = []
    arrays: dict[str, list[RunStatus]] = {}
    for status in statuses:
        array_id = RunDirectory(Path(status.path)).array_id
        if array_id is None:
            alone.append(status)
        else:
            arrays.setdefault(array_id, []).append(status)
    folded = [
        FoldedArray(
            array_id,
            summary(status.state for status in members),
            sum(status.attempts for status in members),
        )
        for array_id, members in arrays.items()
    ]
    return alone, folded


def counted(states: Iterable[str]) -> list[tuple[str, int]]:
    """States and how many, in the order in which people look for them."""
    found = Counter(states)
    rest = sorted(state for state in found if state not in _ORDER)
    return [(state, found[state]) for state in (*_ORDER, *rest) if found[state]]


def summary(states: Iterable[str]) -> str:
    """`12: 3 running, 8 finished, 1 failed`."""
    pairs = counted(states)
    total = sum(number for _, number in pairs)
    return f"{total}: " + ", ".join(f"{number} {state}" for state, number in pairs)


def _number(value: object) -> float | int | None:
    """Heartbeats are untrusted input, and JSON has no infinity."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if good else None  # type: ignore[return-value]
