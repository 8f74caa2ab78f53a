"""Determines the state of a run, and from which source: run directory, squeue, sacct, processes."""

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
"""States in which nothing of a run is alive."""
SILENT_S = 120
"""Age in seconds up to which a heartbeat proves that a rank is alive; NFS shows files late."""


@dataclass(frozen=True)
class Said:
    """The state of a run, and the source of this knowledge."""

    state: str
    cause: str
    by: str
    """`run directory`, `squeue`, `sacct` or `processes`."""
    waiting: Wait | None = None
    """Why the job waits in the queue, if it does."""
    starts_at: float | None = None
    """When SLURM expects to start the job, in seconds since the epoch."""


def state_of(records: Records, scheduler: Scheduler, heartbeats: Sequence[Heartbeat]) -> Said:
    """Determine the state of a run (RD-070, RD-200 to RD-202).

    Args:
        records: what its directory says.
        scheduler: asks SLURM about the job if the run directory does not record the end.
        heartbeats: heartbeats of its latest attempt, all or some.

    Raises:
        UserError: the run directory is damaged.
    """
    said = _unless_finished(records, scheduler, heartbeats)
    cut_short = records.unsettled
    if cut_short is not None and (
        records.job is None or (cut_short.state != "prepared" and said.state in OVER)
    ):
        said = Said(cut_short.state, cut_short.cause, cut_short.said_by)
    # Once the result is written, it does not matter how the job ended.
    if said.state in OVER and records.run.result_json.exists():
        return Said("finished", _why_finished(records.of_job), said.by)
    return said


def _unless_finished(
    records: Records, scheduler: Scheduler, heartbeats: Sequence[Heartbeat]
) -> Said:
    """The state, as if no submission had been cut short."""
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
    """The state after an attempt that another one should follow by itself."""
    why = end.why
    if job.cluster == "slurm":
        said = _ask_slurm(run, job, None, (), scheduler)
        if said.state == "lost" or (
            said.state == "failed" and not cancel_requested(run, job.job_id)
        ):
            cause = f"it should have started again ({why}), but {said.cause}"
            return Said("failed", cause, said.by)
        return Said(said.state, f"{why}; {said.cause}", said.by, said.waiting, said.starts_at)
    process = LocalProcess.parse(job.job_id)
    if not process.here:
        cause = f"{why}, on {process.machine}; run this command there"
        return Said("unknown", cause, "run directory")
    if process.alive:
        return Said("pending", why, "processes")
    if cancel_requested(run, job.job_id):
        return Said("cancelled", "cancelled on request", "processes")
    cause = f"it should have started again ({why}), but its process has ended"
    return Said("failed", cause, "processes")


def _ended(
    run: RunDirectory, attempt: AttemptRecord, end: AttemptEnd, heartbeats: Sequence[Heartbeat]
) -> tuple[str, str]:
    """State and cause after an attempt that recorded its end and that no other one follows."""
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
            f"all ranks stopped on request with a checkpoint; `resume` continues from it{rest}",
        )
    if end.ending.outcome == "cut_short":
        return (
            "stopped",
            "the ranks had to leave before they could write a checkpoint; `resume` continues from "
            f"the one before{rest}",
        )
    if end.ending.cause == "cancelled":
        return "cancelled", f"ended on request (scancel, or a signal); exit code {end.exit_code}"
    reasons = [f"rank {h.rank} on {h.node}: {h.reason}" for h in heartbeats if h.state == "failed"]
    said = "; ".join(dict.fromkeys(reasons))
    return "failed", said or end.ending.reason or f"exit code {end.exit_code}"


def _why_finished(attempt: AttemptRecord | None) -> str:
    """Why a run has finished; a run of a scaling study may finish in the middle of an epoch."""
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
        return _without_slurm(attempt, heartbeats, str(error))
    if told.waits:
        if attempt is not None:  # the answer of SLURM is some seconds old, and out of date
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
        if cancel_requested(run, job.job_id):  # accounting is late, or there is none
            return Said("cancelled", f"cancelled on request; {told.reason}", told.said_by)
        return Said("lost", told.reason, told.said_by)
    return Said("running", f"SLURM says {told.state}", told.said_by)


def _without_slurm(
    attempt: AttemptRecord | None, heartbeats: Sequence[Heartbeat], silence: str
) -> Said:
    if _signs_of_life(heartbeats):
        return Said("running", f"its ranks report; {silence}", "run directory")
    if attempt is None:
        known = "it was submitted, and no attempt has begun yet"
    elif attempt.ends_at is not None and attempt.ends_at < time.time():
        known = "its walltime is over, it recorded no end, and no rank has reported lately"
    else:
        known = "no rank has reported lately"
    return Said("unknown", f"{known}; {silence}", "run directory")


def _ask_processes(run: RunDirectory, job_id: str, heartbeats: Sequence[Heartbeat]) -> Said:
    process = LocalProcess.parse(job_id)
    if not process.here:
        if _signs_of_life(heartbeats):
            return Said("running", f"its ranks report, on {process.machine}", "run directory")
        return Said("unknown", _elsewhere("it", process), "run directory")
    if process.alive:
        return Said("running", "its processes are alive", "processes")
    if any(start_time(heartbeat.pid) is not None for heartbeat in heartbeats):
        return Said("running", "the local cluster has ended, its ranks have not yet", "processes")
    if cancel_requested(run, job_id):
        return Said("cancelled", "cancelled on request", "processes")
    return Said("failed", "its process ended without recording an end", "processes")


def _waits_for_its_turn(run: RunDirectory, job_id: str) -> Said:
    """The state of a member that has not begun; without SLURM one process runs all members."""
    process = LocalProcess.parse(job_id)
    if cancel_requested(run, job_id):
        return Said("cancelled", "cancelled on request before it began", "run directory")
    if not process.here:
        return Said("unknown", _elsewhere("its array", process), "run directory")
    if process.alive:
        return Said("pending", "it waits for the members before it", "processes")
    return Said("lost", "the process of its array ended before this member began", "processes")


def _elsewhere(what: str, process: LocalProcess) -> str:
    return f"{what} was started on {process.machine}; run this command there"


def _signs_of_life(heartbeats: Sequence[Heartbeat]) -> bool:
    return any(time.time() - beat.updated_at < SILENT_S for beat in heartbeats)
