"""What an array is doing: the states of its members, each of which is an ordinary run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from launcher.slurm.jobs import Scheduler
from launcher.status.cut_short import array_jobs
from launcher.status.overview import statuses_of
from launcher.status.run_status import RunStatus
from ptycho_dist.rundir.array import ArrayDirectory, ArrayMember
from ptycho_dist.rundir.checked_json import count, number

POLL_S = 1.0
"""Seconds between two looks at an array that is watched."""
ASK_SCHEDULER_S = 8.0
"""Seconds for which an answer of SLURM is used while an array is watched."""
_ORDER = ("running", "pending", "finished", "failed")
"""States that come first where states are counted."""


@dataclass(frozen=True)
class MemberStatus:
    """One member of an array at one moment."""

    member: ArrayMember
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
            "step": count(progress, "step"),
            "total_steps": count(progress, "total_steps"),
            "loss": number(progress, "loss"),
        }


@dataclass(frozen=True)
class ArrayStatus:
    """An array at one moment."""

    array: ArrayDirectory
    axes: dict[str, list[Any]]
    """Field path → its values."""
    jobs: list[dict[str, Any]]
    """The job arrays, oldest first, as submission.json records them."""
    members: list[MemberStatus]

    @property
    def over(self) -> bool:
        """Whether no member is alive and none will start by itself."""
        still = {"prepared", "damaged"}
        return all(each.status.over or each.status.state in still for each in self.members)

    @property
    def finished(self) -> bool:
        """Whether every member has finished."""
        return all(each.status.state == "finished" for each in self.members)

    @property
    def summary(self) -> str:
        """The states in words: `12: 3 running, 8 finished, 1 failed`."""
        return summary(each.status.state for each in self.members)

    def to_json(self) -> dict[str, Any]:
        """Plain data for `status ARRAY --json`."""
        return {
            "array_id": self.array.array_id,
            "path": str(self.array.path),
            "axes": self.axes,
            "counts": dict(_state_counts(each.status.state for each in self.members)),
            "over": self.over,
            "jobs": [
                {name: job.get(name) for name in ("job_id", "cluster", "submitted_at", "indices")}
                for job in self.jobs
            ],
            "members": [each.to_json() for each in self.members],
        }


def array_status(array: ArrayDirectory, scheduler: Scheduler | None = None) -> ArrayStatus:
    """The state of an array; SLURM is asked once for all members.

    Args:
        array: its directory.
        scheduler: asks SLURM about jobs; None: a new one.

    Raises:
        UserError: array.json or the record of its jobs is damaged.
    """
    scheduler = scheduler or Scheduler(every_s=60)
    axes, members = array.read()
    jobs = array_jobs(array, scheduler)
    statuses = statuses_of([member.run for member in members], scheduler)
    found = [MemberStatus(*pair) for pair in zip(members, statuses, strict=True)]
    return ArrayStatus(array, axes, jobs, found)


def watch_array(array: ArrayDirectory, say: Callable[[str], object]) -> ArrayStatus:
    """Report each change of the counts until the array is over.

    Ctrl-C ends the watching, not the array.

    Args:
        array: its directory.
        say: prints one line.
    """
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
    """An array in a list of runs, with those of its members that were asked for."""

    array_id: str
    members: list[RunStatus]

    @property
    def summary(self) -> str:
        """The states in words: `12: 3 running, 8 finished, 1 failed`."""
        return summary(status.state for status in self.members)

    @property
    def attempts(self) -> int:
        """Number of attempts of all members."""
        return sum(status.attempts for status in self.members)


def fold(statuses: Sequence[RunStatus]) -> list[RunStatus | FoldedArray]:
    """Replace the members of each array by one entry, at the place of the first of them."""
    rows: list[RunStatus | FoldedArray] = []
    members: dict[str, list[RunStatus]] = {}
    for status in statuses:
        if status.array_id is None:
            rows.append(status)
        elif status.array_id in members:
            members[status.array_id].append(status)
        else:
            members[status.array_id] = [status]
            rows.append(FoldedArray(status.array_id, members[status.array_id]))
    return rows


def _state_counts(states: Iterable[str]) -> list[tuple[str, int]]:
    """How often each state occurs, in the order in which people look for states."""
    found = Counter(states)
    rest = sorted(state for state in found if state not in _ORDER)
    return [(state, found[state]) for state in (*_ORDER, *rest) if found[state]]


def summary(states: Iterable[str]) -> str:
    """The states in words: `12: 3 running, 8 finished, 1 failed`."""
    pairs = _state_counts(states)
    total = sum(number for _, number in pairs)
    return f"{total}: " + ", ".join(f"{number} {state}" for state, number in pairs)
