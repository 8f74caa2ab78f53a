"""What a run is doing: from its directory first, from the scheduler where that is not enough."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from launcher.scheduler import Scheduler
from launcher.submissions import submitted_jobs
from ptycho_dist.errors import ClusterUnreachable
from ptycho_dist.rundir import (
    Heartbeat,
    RunDirectory,
    read_attempts,
    read_heartbeats,
)
from ptycho_dist.rundir.ending import cancel_requested
from ptycho_dist.rundir.processes import LocalProcess, start_time

OVER = frozenset({"finished", "stopped", "failed", "cancelled", "lost"})
SILENT_S = 120
"""A heartbeat older than this is no sign of life; other nodes' files show up late on NFS."""


@dataclass(frozen=True, kw_only=True)
class RankStatus:
    """One rank of the latest attempt."""

    rank: int
    node: str
    state: str
    reason: str
    age_s: float
    progress: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run, at one moment."""

    run_id: str
    path: str
    state: str
    """prepared, pending, running, unknown (nobody here can say), or one of OVER."""
    cause: str
    """Why, in plain words."""
    said_by: str
    """What the state was read from."""
    cluster: str | None
    job_id: str | None
    attempts: int
    ranks: list[RankStatus]

    @property
    def over(self) -> bool:
        """Whether nothing of the run is alive any more."""
        return self.state in OVER

    @property
    def progress(self) -> dict[str, Any]:
        """Epoch, step, loss and so on as rank 0 last said, with the patterns/s of all ranks."""
        own = next((dict(rank.progress) for rank in self.ranks if rank.rank == 0), {})
        rates = [rank.progress.get("patterns_per_s") for rank in self.ranks]
        known = [rate for rate in rates if rate is not None]
        if known:
            own["patterns_per_s"] = round(sum(known) / len(known) * len(rates), 1)
        return own

    def to_json(self) -> dict[str, Any]:
        """Plain data for `status --json`."""
        return {**asdict(self), "progress": self.progress}


def status_of(run: RunDirectory, scheduler: Scheduler | None = None) -> RunStatus:
    """The state of a run.

    The run directory is asked first; SLURM only while an attempt has not recorded its end.

    Args:
        run: its directory.
        scheduler: whom to ask about jobs; None: SLURM, now.
    """
    scheduler = scheduler or Scheduler()
    jobs, unsettled = submitted_jobs(run, scheduler)
    attempts = read_attempts(run)
    latest = attempts[-1] if attempts else None
    job: dict[str, Any] | None = jobs[-1] if jobs else None
    if latest is not None and (job is None or _later(latest, job)):
        job = {"job_id": latest["job_id"], "cluster": latest["cluster"]}
    of_job = latest if latest is not None and job and latest["job_id"] == job["job_id"] else None
    if job is None:
        state, cause, said_by = "prepared", "not submitted yet", "run directory"
    elif of_job is not None and of_job["ended_at"] is not None:
        state, cause = _ended(run, of_job)
        said_by = "run directory"
        if state != "finished" and (of_job.get("next") or {}).get("restart"):
            state, cause, said_by = _between(run, job, of_job, scheduler)
    elif job["cluster"] == "slurm":
        state, cause, said_by = _ask_slurm(run, job["job_id"], of_job, scheduler)
    elif job.get("of_array") and of_job is None:
        state, cause, said_by = _waits_for_its_turn(run, job["job_id"])
    else:
        state, cause, said_by = _ask_processes(run, job["job_id"], of_job)
    if unsettled is not None and (job is None or (unsettled.state != "prepared" and state in OVER)):
        state, cause, said_by = unsettled.state, unsettled.cause, unsettled.said_by
    if state in OVER and run.result_json.exists():  # whatever befell the job afterwards
        state, cause = "finished", "all epochs are done"
    return RunStatus(
        run_id=run.run_id,
        path=str(run.path),
        state=state,
        cause=cause,
        said_by=said_by,
        cluster=job["cluster"] if job else None,
        job_id=job["job_id"] if job else None,
        attempts=len(attempts),
        ranks=_ranks(run, latest["number"] if latest else None),
    )


def _between(
    run: RunDirectory, job: dict[str, Any], attempt: dict[str, Any], scheduler: Scheduler
) -> tuple[str, str, str]:
    """An attempt has ended, and another is to follow by itself: does it?"""
    why = str(attempt["next"].get("why"))
    if job["cluster"] == "slurm":
        state, cause, said_by = _ask_slurm(run, job["job_id"], None, scheduler)
        if state == "lost" or (state == "failed" and not cancel_requested(run, job["job_id"])):
            return "failed", f"it was to start again ({why}), but {cause}", said_by
        return state, f"{why}; {cause}", said_by
    process = LocalProcess.parse(job["job_id"])
    if not process.here:
        return "unknown", f"{why}, on {process.machine}; ask there", "run directory"
    if process.alive:
        return "pending", why, "processes"
    if cancel_requested(run, job["job_id"]):
        return "cancelled", "cancelled on request", "processes"
    return "failed", f"it was to start again ({why}), but its process is gone", "processes"


def _waits_for_its_turn(run: RunDirectory, job_id: str) -> tuple[str, str, str]:
    """A member of an array on this machine that has not begun: one process runs all, in a row."""
    process = LocalProcess.parse(job_id)
    if cancel_requested(run, job_id):
        return "cancelled", "cancelled on request before it began", "run directory"
    if not process.here:
        return "unknown", f"its array was started on {process.machine}; ask there", "run directory"
    if process.alive:
        return "pending", "waits for the members before it", "processes"
    return "lost", "the process that ran its array ended before its turn", "processes"


def _later(attempt: dict[str, Any], job: dict[str, Any]) -> bool:
    """An attempt that no submission of ours explains: its script was given to sbatch by hand."""
    return bool(
        attempt["job_id"] != job["job_id"] and attempt["started_at"] > job.get("submitted_at", 0)
    )


def _ended(run: RunDirectory, attempt: dict[str, Any]) -> tuple[str, str]:
    code, outcome = attempt["exit_code"], attempt["outcome"]
    if cancel_requested(run, attempt["job_id"]):
        how = "with a checkpoint" if outcome == "stopped" else f"exit code {code}"
        return "cancelled", f"cancelled on request, {how}"
    following = attempt.get("next") or {}
    why = following.get("why") or "" if following.get("restart") is False else ""
    if outcome == "stopped":
        rest = f"; {why}" if why else ""
        return (
            "stopped",
            f"all ranks stopped on request with a checkpoint; `resume` goes on{rest}",
        )
    if outcome == "cut_short":
        return (
            "stopped",
            "the ranks had to leave before they could write a checkpoint; `resume` goes on from "
            f"the one before{'; ' if why else ''}{why}",
        )
    reasons = [
        f"rank {h.rank} on {h.node}: {h.reason}"
        for h in _heartbeats_of(run, attempt)
        if h.state == "failed"
    ]
    said = "; ".join(dict.fromkeys(reasons))
    ending = attempt.get("ending") or {}
    if ending.get("cause") == "cancelled":
        return "cancelled", f"ended on request (scancel, or a signal); exit code {code}"
    return "failed", said or ending.get("reason") or f"exit code {code}"


def _ask_slurm(
    run: RunDirectory, job_id: str, attempt: dict[str, Any] | None, scheduler: Scheduler
) -> tuple[str, str, str]:
    try:
        job = scheduler.job_state(job_id)
    except ClusterUnreachable as error:
        if _signs_of_life(run, attempt):
            return "running", f"heartbeats are fresh; {error}", "run directory"
        return "unknown", f"{error}, and no rank has said anything lately", "run directory"
    if job.state in {"PENDING", "CONFIGURING"}:
        if attempt is not None:  # what SLURM was asked some seconds ago is out of date
            return "running", "its attempt has begun", "run directory"
        return "pending", job.reason or "waiting for resources", job.said_by
    if job.ended and cancel_requested(run, job_id):
        return "cancelled", f"cancelled on request; SLURM says {job.state}", job.said_by
    if job.state == "CANCELLED":
        return "cancelled", f"SLURM says CANCELLED {job.reason}".strip(), job.said_by
    if job.ended:
        return "failed", f"SLURM says {job.state}; the script recorded no end", job.said_by
    if job.state == "UNKNOWN" and not _signs_of_life(run, attempt):
        return "lost", job.reason, job.said_by
    return "running", f"SLURM says {job.state}", job.said_by


def _ask_processes(
    run: RunDirectory, job_id: str, attempt: dict[str, Any] | None
) -> tuple[str, str, str]:
    process = LocalProcess.parse(job_id)
    if not process.here:
        if _signs_of_life(run, attempt):
            return "running", f"heartbeats are fresh, on {process.machine}", "run directory"
        return "unknown", f"it was started on {process.machine}; ask there", "run directory"
    if process.alive:
        return "running", "its processes are alive", "processes"
    if any(start_time(h.pid) is not None for h in _heartbeats_of(run, attempt)):
        return "running", "the local cluster is gone, its ranks are not yet", "processes"
    if cancel_requested(run, job_id):
        return "cancelled", "cancelled on request", "processes"
    return "failed", "its process is gone and recorded no end", "processes"


def _heartbeats_of(run: RunDirectory, attempt: dict[str, Any] | None) -> list[Heartbeat]:
    return [
        heartbeat
        for heartbeat in read_heartbeats(run).values()
        if attempt is not None and heartbeat.attempt == attempt["number"]
    ]


def _signs_of_life(run: RunDirectory, attempt: dict[str, Any] | None) -> bool:
    return any(time.time() - h.updated_at < SILENT_S for h in _heartbeats_of(run, attempt))


def _ranks(run: RunDirectory, attempt: int | None) -> list[RankStatus]:
    now = time.time()
    return [
        RankStatus(
            rank=h.rank,
            node=h.node,
            state=h.state,
            reason=h.reason,
            age_s=round(max(0.0, now - h.updated_at), 1),
            progress=h.progress,
        )
        for h in sorted(read_heartbeats(run).values(), key=lambda h: h.rank)
        if h.attempt == attempt
    ]
