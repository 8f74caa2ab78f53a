"""What a run is doing: from its directory first, from the scheduler where that is not enough."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from launcher.scheduler import job_state
from ptycho_dist.errors import ClusterUnreachable
from ptycho_dist.rundir import RunDirectory, read_attempts, read_heartbeats, read_ledger
from ptycho_dist.rundir.files import read_json
from ptycho_dist.rundir.ledger import LAUNCHER
from ptycho_dist.rundir.processes import start_time

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
    """prepared, pending, running, or one of OVER."""
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


def status_of(run: RunDirectory) -> RunStatus:
    """The state of a run.

    The run directory is asked first; SLURM only while an attempt has not recorded its end.
    """
    jobs = read_json(run.submission_json)["jobs"] if run.submission_json.exists() else []
    attempts = read_attempts(run)
    latest = attempts[-1] if attempts else None
    job: dict[str, Any] | None = jobs[-1] if jobs else None
    if latest is not None and (job is None or _later(latest, job)):
        job = {"job_id": latest["job_id"], "cluster": latest["cluster"]}
    of_job = latest if latest is not None and job and latest["job_id"] == job["job_id"] else None
    ended = of_job is not None and of_job["ended_at"] is not None
    if run.result_json.exists() and (ended or of_job is None):
        state, cause, said_by = "finished", "all epochs are done", "run directory"
    elif job is None:
        state, cause, said_by = "prepared", "not submitted yet", "run directory"
    elif of_job is not None and ended:
        state, cause = _ended(run, of_job)
        said_by = "run directory"
    elif job["cluster"] == "slurm":
        state, cause, said_by = _ask_slurm(run, job["job_id"])
    else:
        state, cause, said_by = _ask_processes(run, job)
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


def _later(attempt: dict[str, Any], job: dict[str, Any]) -> bool:
    """An attempt that no submission of ours explains: its script was given to sbatch by hand."""
    return bool(
        attempt["job_id"] != job["job_id"] and attempt["started_at"] > job.get("submitted_at", 0)
    )


def _ended(run: RunDirectory, attempt: dict[str, Any]) -> tuple[str, str]:
    code, outcome = attempt["exit_code"], attempt["outcome"]
    if _cancelled(run, attempt["job_id"]):
        how = "with a checkpoint" if outcome == "stopped" else f"exit code {code}"
        return "cancelled", f"cancelled on request, {how}"
    if outcome == "stopped":
        return "stopped", "all ranks stopped on request with a checkpoint; `resume` goes on"
    reasons = [
        f"rank {h.rank} on {h.node}: {h.reason}"
        for h in read_heartbeats(run).values()
        if h.state == "failed" and h.attempt == attempt["number"]
    ]
    return "failed", "; ".join(dict.fromkeys(reasons)) or f"exit code {code}"


def _ask_slurm(run: RunDirectory, job_id: str) -> tuple[str, str, str]:
    try:
        job = job_state(job_id)
    except ClusterUnreachable as error:
        if _signs_of_life(run):
            return "running", f"heartbeats are fresh; {error}", "run directory"
        return "lost", f"no heartbeat for {SILENT_S} s; {error}", "run directory"
    if job.state in {"PENDING", "CONFIGURING"}:
        return "pending", job.reason or "waiting for resources", job.said_by
    if job.state == "CANCELLED" or (job.ended and _cancelled(run, job_id)):
        return "cancelled", f"SLURM says {job.state} {job.reason}".strip(), job.said_by
    if job.ended:
        return "failed", f"SLURM says {job.state}; the script recorded no end", job.said_by
    if job.state == "UNKNOWN" and not _signs_of_life(run):
        return "lost", job.reason, job.said_by
    return "running", f"SLURM says {job.state}", job.said_by


def _ask_processes(run: RunDirectory, job: dict[str, Any]) -> tuple[str, str, str]:
    started = start_time(int(job["job_id"]))
    if started is not None and started == job.get("process_started_at", started):
        return "running", "its processes are alive", "processes"
    if _cancelled(run, job["job_id"]):
        return "cancelled", "cancelled on request", "processes"
    return "failed", "the local cluster's process is gone and recorded no end", "processes"


def _cancelled(run: RunDirectory, job_id: str) -> bool:
    return any(
        event["event"] == "cancel_requested" and event.get("job_id") == job_id
        for event in read_ledger(run)
        if event.get("writer") == LAUNCHER
    )


def _signs_of_life(run: RunDirectory) -> bool:
    return any(time.time() - h.updated_at < SILENT_S for h in read_heartbeats(run).values())


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
