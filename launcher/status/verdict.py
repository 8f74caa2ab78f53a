"""What state a run is in, and who says so: the run directory, squeue, sacct, or processes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from launcher.slurm.jobs import Scheduler
from launcher.slurm.pending_reasons import Wait, why_it_waits
from launcher.status.records import Records
from launcher.status.submission_record import Job
from ptycho_dist.attempts.ending import cancel_requested
from ptycho_dist.attempts.processes import LocalProcess, start_time
from ptycho_dist.attempts.record import AttemptEnd, AttemptRecord
from ptycho_dist.errors import ClusterUnreachable
from ptycho_dist.rundir.heartbeat import Heartbeat
from ptycho_dist.rundir.layout import RunDirectory

OVER = frozenset({"finished", "stopped", "failed", "cancelled", "lost"})
SILENT_S = 120
"""A heartbeat older than this is no sign of life; other nodes' files show up late on NFS."""


@dataclass(frozen=True)
class Said:
    """A verdict about the state of a run."""

    state: str
    cause: str
    by: str
    waiting: Wait | None = None
    starts_at: float | None = None


def state_of(records: Records, scheduler: Scheduler, heartbeats: Sequence[Heartbeat]) -> Said:
    """The state of a run (RD-070, RD-200 to RD-202).

    Args:
        records: of the run.
        scheduler: whom to ask about its job, where the run directory does not say the end.
        heartbeats: of its latest attempt, all or some.

    Raises:
        UserError: the run directory is damaged.
    """
    said = _unless_finished(records, scheduler, heartbeats)
    cut_short = records.unsettled
    if cut_short is not None and (
        records.job is None or (cut_short.state != "prepared" and said.state in OVER)
    ):
        said = Said(cut_short.state, cut_short.cause, cut_short.said_by)
    if said.state in OVER and records.run.result_json.exists():  # whatever befell the job then
        return Said("finished", _why_finished(records.of_job), said.by)
    return said


def _unless_finished(
    records: Records, scheduler: Scheduler, heartbeats: Sequence[Heartbeat]
) -> Said:
    job, attempt, run = records.job, records.of_job, records.run
    if job is None:
        return Said("prepared", "not submitted yet", "run directory")
    if attempt is not None and attempt.end is not None:
        if attempt.end.restarts and not run.result_json.exists():
            return _between(run, job, attempt.end, scheduler)
        state, cause = _ended(run, attempt, attempt.end, heartbeats)
        return Said(state, cause, "run directory")
    own = heartbeats if attempt is not None else ()
    if job.cluster == "slurm":
        return _ask_slurm(run, job, attempt, own, scheduler)
    if job.of_array and attempt is None:
        return _waits_for_its_turn(run, job.job_id)
    return _ask_processes(run, job.job_id, own)


def _between(run: RunDirectory, job: Job, end: AttemptEnd, scheduler: Scheduler) -> Said:
    """An attempt has ended, and another is to follow by itself: does it?"""
    why = end.why
    if job.cluster == "slurm":
        said = _ask_slurm(run, job, None, (), scheduler)
        if said.state == "lost" or (
            said.state == "failed" and not cancel_requested(run, job.job_id)
        ):
            return Said("failed", f"it was to start again ({why}), but {said.cause}", said.by)
        return Said(said.state, f"{why}; {said.cause}", said.by, said.waiting, said.starts_at)
    process = LocalProcess.parse(job.job_id)
    if not process.here:
        return Said("unknown", f"{why}, on {process.machine}; ask there", "run directory")
    if process.alive:
        return Said("pending", why, "processes")
    if cancel_requested(run, job.job_id):
        return Said("cancelled", "cancelled on request", "processes")
    return Said("failed", f"it was to start again ({why}), but its process is gone", "processes")


def _ended(
    run: RunDirectory, attempt: AttemptRecord, end: AttemptEnd, heartbeats: Sequence[Heartbeat]
) -> tuple[str, str]:
    if run.result_json.exists():
        return "finished", _why_finished(attempt)
    if cancel_requested(run, attempt.job_id):
        stopped = end.ending.outcome == "stopped"
        how = "with a checkpoint" if stopped else f"exit code {end.exit_code}"
        return "cancelled", f"cancelled on request, {how}"
    rest = f"; {end.why}" if end.why and not end.restarts else ""
    if end.ending.outcome == "stopped":
        return (
            "stopped",
            f"all ranks stopped on request with a checkpoint; `resume` goes on{rest}",
        )
    if end.ending.outcome == "cut_short":
        return (
            "stopped",
            "the ranks had to leave before they could write a checkpoint; `resume` goes on from "
            f"the one before{rest}",
        )
    if end.ending.cause == "cancelled":
        return "cancelled", f"ended on request (scancel, or a signal); exit code {end.exit_code}"
    reasons = [f"rank {h.rank} on {h.node}: {h.reason}" for h in heartbeats if h.state == "failed"]
    said = "; ".join(dict.fromkeys(reasons))
    return "failed", said or end.ending.reason or f"exit code {end.exit_code}"


def _why_finished(attempt: AttemptRecord | None) -> str:
    """A run of a scaling study ends when it has measured, perhaps within an epoch."""
    end = attempt.end if attempt is not None else None
    said = end.ending.reason if end is not None and end.ending.outcome == "finished" else ""
    return said or "all epochs are done"


def _ask_slurm(
    run: RunDirectory,
    job: Job,
    attempt: AttemptRecord | None,
    heartbeats: Sequence[Heartbeat],
    scheduler: Scheduler,
) -> Said:
    try:
        told = scheduler.job_state(job.job_id)
    except ClusterUnreachable as error:
        return _without_slurm(job, attempt, heartbeats, str(error))
    if told.waits:
        if attempt is not None:  # what SLURM was asked some seconds ago is out of date
            return Said("running", "its attempt has begun", "run directory")
        wait = why_it_waits(told.reason) if told.reason else None
        cause = wait.sentence if wait else "waiting for resources"
        return Said("pending", cause, told.said_by, wait, told.starts_at)
    if told.ended and cancel_requested(run, job.job_id):
        return Said("cancelled", f"cancelled on request; SLURM says {told.state}", told.said_by)
    if told.state == "CANCELLED":
        return Said("cancelled", f"SLURM says CANCELLED {told.reason}".strip(), told.said_by)
    if told.ended:
        cause = f"SLURM says {told.state}; the script recorded no end"
        return Said("failed", cause, told.said_by)
    if told.state == "UNKNOWN" and not _signs_of_life(heartbeats):
        if cancel_requested(run, job.job_id):  # accounting lags behind, or there is none
            return Said("cancelled", f"cancelled on request; {told.reason}", told.said_by)
        return Said("lost", told.reason, told.said_by)
    return Said("running", f"SLURM says {told.state}", told.said_by)


def _without_slurm(
    job: Job, attempt: AttemptRecord | None, heartbeats: Sequence[Heartbeat], silence: str
) -> Said:
    if _signs_of_life(heartbeats):
        return Said("running", f"heartbeats are fresh; {silence}", "run directory")
    if attempt is None:
        known = "it was submitted, and has begun no attempt since"
    elif attempt.ends_at is not None and attempt.ends_at < time.time():
        known = "its walltime is over, it recorded no end, and no rank has said anything lately"
    else:
        known = "no rank has said anything lately"
    return Said("unknown", f"{known}; {silence}", "run directory")


def _ask_processes(run: RunDirectory, job_id: str, heartbeats: Sequence[Heartbeat]) -> Said:
    process = LocalProcess.parse(job_id)
    if not process.here:
        if _signs_of_life(heartbeats):
            return Said("running", f"heartbeats are fresh, on {process.machine}", "run directory")
        return Said("unknown", f"it was started on {process.machine}; ask there", "run directory")
    if process.alive:
        return Said("running", "its processes are alive", "processes")
    if any(start_time(heartbeat.pid) is not None for heartbeat in heartbeats):
        return Said("running", "the local cluster is gone, its ranks are not yet", "processes")
    if cancel_requested(run, job_id):
        return Said("cancelled", "cancelled on request", "processes")
    return Said("failed", "its process is gone and recorded no end", "processes")


def _waits_for_its_turn(run: RunDirectory, job_id: str) -> Said:
    """A member of an array on this machine that has not begun: one process runs all, in a row."""
    process = LocalProcess.parse(job_id)
    if cancel_requested(run, job_id):
        return Said("cancelled", "cancelled on request before it began", "run directory")
    if not process.here:
        return Said(
            "unknown", f"its array was started on {process.machine}; ask there", "run directory"
        )
    if process.alive:
        return Said("pending", "waits for the members before it", "processes")
    return Said("lost", "the process that ran its array ended before its turn", "processes")


def _signs_of_life(heartbeats: Sequence[Heartbeat]) -> bool:
    return any(time.time() - beat.updated_at < SILENT_S for beat in heartbeats)
