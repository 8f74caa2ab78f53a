"""Ending a run on request: the ranks stop by themselves if they can, and are killed if not."""

from __future__ import annotations

import getpass
import os
import signal
import time
from contextlib import suppress

from launcher.scheduler import Scheduler, cancel_job
from launcher.status import RunStatus, status_of
from ptycho_dist.errors import UserError
from ptycho_dist.rundir import LedgerWriter, RunDirectory, read_heartbeats
from ptycho_dist.rundir.ledger import LAUNCHER
from ptycho_dist.rundir.processes import LocalProcess

POLITE_S = 22
"""Ranks checkpoint and leave within this; then they are killed."""
KILLED_S = 6
POLL_S = 0.3


def cancel(run: RunDirectory) -> RunStatus:
    """Cancel a run and wait, at most 30 s, until every rank has ended.

    Raises:
        UserError: there is nothing to cancel, or something is still alive after it all.
        ClusterUnreachable: SLURM does not answer.
    """
    status = status_of(run)
    if status.over or status.job_id is None:
        raise UserError(f"{run.run_id} is {status.state}: {status.cause}; nothing to cancel")
    _require_reach(status)
    with LedgerWriter(run, status.attempts, LAUNCHER) as ledger:
        ledger.append("cancel_requested", job_id=status.job_id, by=getpass.getuser())
        _ask_to_stop(status)
        ended = _wait(run, POLITE_S)
        if not ended.over:
            ledger.append("kill_requested", job_id=status.job_id)
            _kill(run, status)
            ended = _wait(run, KILLED_S)
        # A run that was quicker than the request is finished, and the ledger says so.
        ledger.append(ended.state if ended.over else "cancel_failed", job_id=status.job_id)
    if not ended.over:
        raise UserError(f"{run.run_id} is still {ended.state} after {POLITE_S + KILLED_S} s")
    return ended


def _require_reach(status: RunStatus) -> None:
    if status.cluster == "local" and not LocalProcess.parse(str(status.job_id)).here:
        machine = LocalProcess.parse(str(status.job_id)).machine
        raise UserError(f"{status.run_id} runs on {machine}; cancel it there")


def _ask_to_stop(status: RunStatus) -> None:
    """Only the ranks are signalled: srun answers TERM by killing them in the middle of a step."""
    job_id = str(status.job_id)
    if status.cluster == "slurm":
        cancel_job(job_id, signal=None if status.state == "pending" else "TERM")
        return
    process = LocalProcess.parse(job_id)
    if process.alive:
        os.kill(process.pid, signal.SIGTERM)


def _kill(run: RunDirectory, status: RunStatus) -> None:
    job_id = str(status.job_id)
    if status.cluster == "slurm":
        cancel_job(job_id, signal="KILL")  # the ranks; the script then records the end
        cancel_job(job_id)
        return
    process = LocalProcess.parse(job_id)
    pids = [h.pid for h in read_heartbeats(run).values() if h.attempt == status.attempts]
    for pid in [*([process.pid] if process.alive else []), *pids]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _wait(run: RunDirectory, seconds: float) -> RunStatus:
    scheduler = Scheduler(every_s=2.0)
    deadline = time.monotonic() + seconds
    while True:
        status = status_of(run, scheduler)
        if status.over or time.monotonic() > deadline:
            return status
        time.sleep(POLL_S)
